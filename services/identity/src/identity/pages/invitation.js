const token = location.hash.slice(1);
const said = document.getElementById("said");
history.replaceState(null, "", location.pathname);
document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  said.textContent = "…";
  const body = { token, username: document.getElementById("username").value, password: document.getElementById("password").value };
  try {
    const answer = await fetch("/v1/admin-invitations", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const told = await answer.json();
    said.textContent = answer.ok ? `${told.username} can log in now.` : told.detail || told.title;
  } catch {
    said.textContent = "The service cannot be reached. Please try again.";
  }
});
