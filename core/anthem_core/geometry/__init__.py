"""Pure geometry in numpy: the Lorentz model, the containment formulas, and regions. No text, files or network here."""
