const english = !navigator.language.toLowerCase().startsWith("zh");
const say = (zh, en) => { document.getElementById("said").textContent = english ? en : zh; };
if (english) {
  document.documentElement.lang = "en";
  for (const one of document.querySelectorAll("[data-en]")) one.textContent = one.dataset.en;
}
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const form = document.getElementById("form");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = document.getElementById("password").value;
  if (password !== document.getElementById("again").value) return say("两次输入的密码不一致。", "The two are not the same.");
  say("…", "…");
  try {
    const answer = await fetch("/v1/password-resets", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token, password }),
    });
    await answer.text(); // what no cache may keep ends only when it is read
    if (answer.ok) {
      form.hidden = true;
      document.getElementById("rules").hidden = true;
      say("密码已更新，请重新登录。", "The password is set. Please log in again.");
    } else if (answer.status === 401) {
      say("链接已使用、已过期或无效，请重新申请。", "This link was used, is too old or was never sent. Please ask for a new one.");
    } else {
      say("密码不符合要求，或服务暂时不可用。", "This password cannot be used, or the service is busy.");
    }
  } catch {
    say("无法连接服务，请稍后再试。", "The service cannot be reached. Please try again.");
  }
});
