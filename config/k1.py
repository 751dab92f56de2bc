k = 1  # one component with the whole budget
