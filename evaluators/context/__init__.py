"""One evaluation: a calibrated model with its data, accuracy, and the machine it runs on."""
