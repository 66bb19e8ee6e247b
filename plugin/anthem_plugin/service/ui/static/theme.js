// Light or dark: the system's choice, until the button says otherwise.

import { byId } from "./elements.js";
import { recall, remember } from "./storage.js";

const THEME_NAME = "anthem-theme";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

export function setUpTheme() {
  const button = byId("theme");
  const chosen = recall("localStorage", THEME_NAME);
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    remember("localStorage", THEME_NAME, theme);
    label(button);
  });
  prefersDark.addEventListener("change", () => label(button));
  label(button);
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : prefersDark.matches;
}

function label(button) {
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
}
