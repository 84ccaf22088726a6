"""Who may do what: users, their rules, and the question whether one of them may run a request. It knows commands and
their declarations; it knows neither sessions nor databases, and asks nobody but itself.
"""
