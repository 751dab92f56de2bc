# The experiment at laptop size: two layers of 128, a vocabulary of 4,096, five categories of arXiv.
#
# 3,900 windows of 100 tokens are 390,000 tokens an epoch at every K, a multiple of lcm(1..5) = 60 windows. (On 49,853 arXiv
# abstracts the smallest candidate, cs.PL, holds 3,936 windows; on full papers any holds far more.)
# 5 epochs x 3,900 windows / 16 windows a step = 1,218 steps, 1.95 million tokens.
dataset = 'arxiv-cpu'
vocab_size = 4096

token_budget = 390_000

n_layer = 2
n_head = 2
n_embd = 128
dropout = 0.0  # five epochs do not overfit, and CPU attention is slow with it

epochs = 5
batch_size = 16
learning_rate = 2e-3
min_lr = 2e-4
warmup_iters = 100

eval_interval = 120
val_windows_per_component = 128
