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
  say("…", "…");
  try {
    const answer = await fetch("/v1/email-verifications", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
    await answer.text(); // what no cache may keep ends only when it is read
    if (answer.ok) {
      form.hidden = true;
      say("邮箱已验证。", "The address is verified.");
    } else {
      say("链接已使用、已过期或无效。", "This link was used, is too old or was never sent.");
    }
  } catch {
    say("无法连接服务，请稍后再试。", "The service cannot be reached. Please try again.");
  }
});
