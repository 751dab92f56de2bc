# The laptop's experiment up to K = 32, with 32 categories of arXiv, which `make arxiv32` fetches.
# It goes behind config/cpu.py, whose model and training it has:
#     python prepare.py config/cpu.py config/arxiv32.py
#     python sweep.py config/cpu.py config/arxiv32.py --k='1 2 4 8 16 32' --seeds=0 config/dealt.py
#
# 960 windows of 100 tokens are an epoch: 2, 4 .. 32 divide 960.
source = 'arxiv32/'
labels = ','.join((
    'cond-mat.quant-gas,cs.CE,cs.CG,cs.CL,cs.CR,cs.DB,cs.DC,cs.DS,cs.GT,cs.HC,cs.LO,cs.NE,cs.PL',
    'cs.RO,cs.SE,cs.SI,cs.SY,math.AC,math.CA,math.GR,math.GT,math.LO,math.QA,math.RT,math.ST',
    'nlin.CD,physics.bio-ph,physics.plasm-ph,q-bio.NC,q-bio.PE,stat.AP,stat.ME'))
dataset = 'arxiv32'
candidates = labels
token_budget = 96_000
