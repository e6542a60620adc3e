// The word goes out in a header and comes back as a cookie; the page itself never keeps it.

const form = document.getElementById("login");
const word = document.getElementById("word");
const says = document.getElementById("says");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  says.textContent = "";
  try {
    const answer = await fetch("/login", { method: "POST", headers: { authorization: `Bearer ${word.value}` } });
    if (answer.ok) location.replace("/");
    else says.textContent = answer.status === 401 ? "That is not the word." : `The daemon answers ${answer.status}.`;
  } catch {
    says.textContent = "The daemon does not answer.";
  }
});
