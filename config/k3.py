k = 3  # three components with a third of the budget each
