# The experiment in earnest, on a GPU: the defaults of every script, so that nothing is set here. A sweep's CONFIG, and a place for your own keys.
#
# 6 layers, 4 heads, 256 channels, a BPE of 32,000, windows of 100 tokens, 512 of them a step, 20 epochs of what the smallest candidate holds.
