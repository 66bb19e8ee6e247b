// The sliders: other weights and another window than those that ranked, and the values to copy.

import { byId, create } from "./elements.js";
import { number } from "./words.js";

const PERCENT_STEPS = 100;

/** The sliders of the weights that a search was ranked by. `changed` is called after every movement of one. */
export class Tuning {
  constructor(changed) {
    this.changed = changed;
    this.sliders = [];
    byId("reset").addEventListener("click", () => this.reset());
    byId("copy").addEventListener("click", () => this.copy());
  }

  /** Show the sliders for the weights of a search; what was set before is kept if it is for the same weights. */
  start(fusion, window, count) {
    const known = this.fusion && this.fusion.name === fusion.name && this.count === count;
    this.fusion = fusion;
    this.count = count;
    if (!known) {
      const kept = this.values;
      this.current = { weights: fusion.weights, window };
      this.values = kept && kept.name === fusion.name ? kept : copyOf(this.current, fusion.name);
      this.build();
    }
    this.write();
  }

  get isChanged() {
    const { weights, window } = this.current;
    return this.values.window !== window || Object.keys(weights).some((name) => weights[name] !== this.values.weights[name]);
  }

  build() {
    const { weights } = this.current;
    this.sliders = [];
    if (weights.attention) {
      this.add("attention", "Attention", "how well the words of query and title match", linear(weights.attention));
    }
    if (weights.containment) {
      this.add("containment", "Containment", "whether the product lies in the query’s region", linear(weights.containment));
    }
    this.add("lexical_offset", "Lexical offset", "the higher, the less the lexical score counts", logarithmic());
    this.sliders.push(this.windowSlider());
    byId("sliders").replaceChildren(...this.sliders.map((slider) => slider.row));
  }

  add(name, label, help, scale) {
    const read = () => this.values.weights[name];
    const set = (value) => (this.values.weights[name] = value);
    this.sliders.push(this.slider({ name, label, help, scale, read, set, current: this.current.weights[name] }));
  }

  windowSlider() {
    const scale = windowScale(this.count, this.current.window);
    const read = () => this.values.window;
    const set = (value) => (this.values.window = value);
    const help = "how many lexical hits are reranked; in cluster mode, on each shard";
    return this.slider({ name: "window", label: "Window", help, scale, read, set, current: this.current.window });
  }

  slider({ name, label, help, scale, read, set, current }) {
    const input = create("input", {
      id: `slider-${name}`,
      type: "range",
      min: scale.min,
      max: scale.max,
      step: scale.step,
      "aria-describedby": `help-${name}`,
    });
    const shown = create("output", { for: input.id });
    const write = () => {
      input.value = String(scale.place(read()));
      const text = number(read(), scale.digits);
      shown.textContent = read() === current ? text : `${text} (now ${number(current, scale.digits)})`;
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.addEventListener("input", () => {
      set(scale.value(Number(input.value)));
      this.write();
      this.changed();
    });
    const head = create("span", { class: "slider-head" }, create("label", { for: input.id }, label), shown);
    const row = create("div", { class: "slider" }, head, input, create("span", { id: `help-${name}`, class: "quiet" }, help));
    return { row, write };
  }

  /** Write the values beside the sliders, and the text to copy. */
  write() {
    for (const slider of this.sliders) slider.write();
    const { weights, window } = this.values;
    byId("values").textContent = JSON.stringify({ window, fusion: { [this.fusion.name]: weights } }, null, 2);
    byId("reset").disabled = !this.isChanged;
    byId("copied").textContent = "";
  }

  reset() {
    this.values = copyOf(this.current, this.fusion.name);
    this.write();
    this.changed();
  }

  async copy() {
    const text = byId("values");
    try {
      await navigator.clipboard.writeText(text.textContent);
      byId("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(text); // only secure pages may write to the clipboard
      byId("copied").textContent = "Selected; press Ctrl+C.";
    }
  }
}

function copyOf({ weights, window }, name) {
  return { name, weights: { ...weights }, window };
}

/** A scale of windows, in steps of one hit. A window that holds all hits of this search stays as it is. */
function windowScale(count, current) {
  const value = (place) => (place === count ? Math.max(count, current) : place);
  return { min: 1, max: count, step: 1, place: (window) => Math.min(window, count), value, digits: 0 };
}

/** A scale from 0 to three times the current weight, in round steps. */
function linear(current) {
  const step = 10 ** Math.floor(Math.log10((3 * current) / PERCENT_STEPS));
  const round = (value) => Number((Math.round(value / step) * step).toPrecision(6));
  return { min: 0, max: round(3 * current), step: "any", place: (value) => value, value: round, digits: 2 };
}

/** A scale from 0.01 to 10, on which equal distances are equal ratios. */
function logarithmic() {
  const value = (place) => Number((10 ** place).toPrecision(3));
  return { min: -2, max: 1, step: "any", place: Math.log10, value, digits: 3 };
}
