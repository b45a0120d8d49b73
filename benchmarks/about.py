"""What each room of the table measures, and what in it is not comparable."""

ABOUT = {
    "engine": (
        "One epoch of LLM-ESR on SASRec, validation (100 sampled negatives) included, from the same weights, in "
        "batches of as many users. *reference* is `benchmarks/reference.py`, the paper's equations in plain PyTorch: "
        "rectangles, the adapter at every position, every user's N teachers encoded anew in every step; a test holds "
        "that its states, loss and gradients are ours. *Ours* encodes all teachers once an epoch, which is a "
        "different algorithm (`methods.llmesr.mediator_refresh`); *ours, teachers every step* is the same one as the "
        "reference, so the ratio of these two is what the engine alone is worth. The reference is timed on a few "
        "batches and scaled; like ours, it encodes teachers without dropout. NDCG@10 is validation's after the "
        "measured epochs, of which the scaled reference has none. One difference is left in training: where zeros are "
        "attended to, ours drops all of a sequence's zeros together, as the one key that they are, and the reference "
        "each by itself."
    ),
    "accuracy": (
        "Both engines trained from the same weights for the same number of whole epochs, teachers anew in every step; "
        "they differ in what dropout, shuffling and negatives draw, so NDCG@10 (validation's, among 100 sampled "
        "negatives) can be equal only but for the noise of one seed. Measured once."
    ),
    "recbole": (
        "The plain backbones against RecBole 1.2.1's on the same training interactions and items, with the same "
        "sizes, dropout, batch size and optimizer, one thread each. An epoch is one pass over all training positions; "
        "only, where a history is longer than T, ours predicts its latest T items and RecBole makes rows of all (the "
        "note counts). **Batches mean different things**: ours are users, each with all its positions; RecBole makes "
        "a row of every position's prefix, so its epoch has many more steps and may learn more in it. So these are "
        "costs a pass, not costs to an equal accuracy. RecBole pads to the longest sequence (at most T), ours is "
        "ragged. The losses: full cross-entropy is the same on both sides; with one negative, ours is binary "
        "cross-entropy and RecBole's is BPR, the same work. Models differ in small parts: RecBole's SASRec norms its "
        "input and has no final norm, its GRU4Rec has a linear layer more, its BERT4Rec one with norm and output bias "
        "more; ours reads each BERT4Rec user twice an epoch (a cloze, and the last item hidden), RecBole each prefix "
        "once, or, in *one row a user*, which is not its default, each user once. Full ranking: HR@10 and NDCG@10 of "
        "all validation items in the whole catalogue, nothing left out. Memory is that of the whole process, "
        "libraries and data included."
    ),
    "encoding": (
        "The item prompts through the same all-MiniLM-L6-v2 folder, tokenization included, loading not, one thread. "
        "sentence-transformers runs at its default batch of 32 texts in float32, the row to compare *ours, float32* "
        "with; *auto* is what the pipeline does, bfloat16 where the machine has it. The cosine distance is the "
        "greatest of any text to our float32 vector. Tokens are real ones, without padding."
    ),
    "retrieval": (
        "The N most similar users of every user by cosine, exact on all sides. *One matrix* holds all cosines and "
        "`argpartition`s them; *in blocks* does so for 512 users at a time. Neighbours that are not the same are ties "
        "(users with equal texts), or differ by rounding."
    ),
    "floor": (
        "How far our epochs are from what the machine could do. *GFLOP* counts the matrix products of a whole epoch "
        "(forward, backward, teachers, validation) that our code does, *peak* is a 1024³ float32 product on one "
        "thread, measured in the same process. Adam's traffic is the least it can move, at the speed of a 256 MB "
        "copy. *Share of the floor* is the sum of both by the epoch's time. Elementwise work, gathers and random "
        "numbers are in no floor, so 100 % is out of reach."
    ),
    "serving": (
        "A saved recommender (`llmesr.Recommender`), one thread. *Export* writes the top of a million users, the "
        "dataset's histories over and over, to parquet, block by block; *one call a user* is the wait for "
        "`recommend`, median and 95 % quantile over 500 users. Measured once."
    ),
}
