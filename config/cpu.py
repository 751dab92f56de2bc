# The experiment at laptop size: two layers of 128, a vocabulary of 1,024, titles and abstracts of
# eight categories of arXiv, which `make arxiv` fetches. A paper counts once, under its primary
# category.
#
# 840 windows of 100 tokens are 84,000 tokens an epoch at every K. 840 is lcm(1..8), so that each of
# five components gives 168 windows. cs.CE, the smallest, holds 4,206 windows, and 3,359 where the
# control deals the documents out: there is room for three times the tokens.
source = 'arxiv/'
text_column = 'title,abstract'
label_column = 'primary_cat'
labels = 'cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST'
dataset = 'arxiv-cpu'
vocab_size = 1024

candidates = labels
token_budget = 84_000

# With so few tokens a run overfits soon, and every run can be trained until its validation XE falls
# no further: the learning rate stays constant after the warm-up, and a run ends when 3 evaluations
# in a row, 150 steps, bring no lower one. LOG.md has the schedules that end higher. At most 60
# epochs x 840 windows / 16 windows a step = 3,150 steps, 5 million tokens. Where the budget is four
# times as large, 150 steps are less than an epoch and end runs too soon: --patience=12 there.
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
patience = 3
val_windows_per_component = 128
