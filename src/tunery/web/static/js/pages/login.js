// @ts-check
/** The login page: takes the token from the URL or the field, then opens the requested page. */
import { post } from "../api.js";
import { $, fieldError, url } from "../dom.js";
import { busy, showProblem } from "../shell.js";
import { t } from "../words.js";

const form = $("#login");
const box = $("#f-token");

/** Only a path on this server: no scheme, no host. */
function target() {
  const next = form.dataset.next || "/";
  return url(/^\/(?![/\\])/.test(next) ? next : "/");
}

/** @param {string} token */
async function enter(token) {
  fieldError("token", "");
  try {
    await busy($("button[type=submit]", form), post("/api/v1/session", { token }));
    location.replace(target());
  } catch (problem) {
    const { status } = /** @type {import("../api.js").Problem} */ (problem);
    if (status === 401 || status === 403) fieldError("token", t("This is not the access token of this server."));
    else if (status === 429) fieldError("token", t("Too many wrong tokens. Try again in a minute."));
    else showProblem(problem);
    box.focus();
  }
}

form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  enter(box.value.trim());
});

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  // The URL must not keep the token: neither in the history nor in a bookmark.
  history.replaceState(null, "", location.pathname + location.search);
  box.value = given;
  enter(given);
}
