"""What sums of several sites say: the linear model of everybody, exactly, without anybody's connections.

Arrays in, arrays out. `sums` adds people and sites up, and the rest asks the sums.
"""
