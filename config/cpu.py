# The experiment at laptop size: two layers of 128, a vocabulary of 1,024, five categories of arXiv.
#
# 900 windows of 100 tokens are 90,000 tokens an epoch at every K. 900 is a multiple of
# lcm(1..5) = 60, so that each of five components gives 180 windows.
# With so few tokens a run overfits in a minute or two, and every run can be trained until its
# validation XE falls no further: the learning rate stays constant after the warm-up, and a run ends
# when 6 evaluations in a row, 300 steps, bring no lower one. More steps would leave best.pt the
# same. At most 60 epochs x 900 windows / 16 windows a step = 3,375 steps, 5.4 million tokens.
dataset = 'arxiv-cpu'
vocab_size = 1024

token_budget = 90_000

n_layer = 2
n_head = 2
n_embd = 128
dropout = 0.0  # what overfits is stopped, and CPU attention is slow with it

epochs = 60
batch_size = 16
learning_rate = 1e-3
decay_lr = False
warmup_iters = 50

eval_interval = 50
patience = 6
val_windows_per_component = 128
dtype = 'float32'  # the same numbers on every machine, and bfloat16 is fast on few CPUs
