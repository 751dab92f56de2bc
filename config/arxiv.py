# The experiment in earnest, on a GPU: everything else is the defaults at the top of the scripts.
# A sweep's CONFIG, and a place for your own keys.
#
# 6 layers, 4 heads, 256 channels, a BPE of 32,000, windows of 100 tokens, 512 of them a step,
# 20 epochs of what the smallest candidate holds.
dataset = 'arxiv'
