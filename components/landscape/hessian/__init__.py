"""Second derivatives of the loss: products, eigenvalues, traces, spectra, and what is measured by them."""
