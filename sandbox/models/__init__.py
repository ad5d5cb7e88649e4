"""The offered models as data: input fields, outputs and prices, by vendor and kind."""
