# Control: twice the steps on the same data. A term of the decomposition that measures a lack of
# training shows it by moving.
#
#     python train.py config/demo.py config/double_steps.py config/k2.py --out_dir=out/double
#
# It comes after the file that sets the epochs. 2 x epochs x windows in the budget / windows a step
# = twice the steps. The cosine ends at the last of them, the warm-up stays. Runs with a --max_iters
# of their own (D_c) get twice that: --max_iters={2 x}. It is for runs that take all their steps:
# those that stop early (patience) take no more for it. In eval_xe.py's table it is a setting.
epochs = 2 * epochs
max_iters = 2 * max_iters
eval_interval = 2 * eval_interval
