"""What an operator sees of a federation: a pure fold of the topics into frozen, bounded views.

One model for the page, the terminal and the commands; ``convergence.observer`` feeds it.
"""
