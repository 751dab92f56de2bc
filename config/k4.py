k = 4  # four components with a quarter of the budget each
