"""MXNet 1.9.1: operators of networks and of linear algebra, forward and backward."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.stacks.mxnet_common import Checks
from benchmarks.stacks.results import Results

_CHECKS = (
    *("convolution", "recurrent", "normalisation", "pooling_and_shapes", "sorting"),
    *("linear_algebra", "images", "losses_and_indexing", "sparse"),
)


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    checks = _Operators()
    for name in _CHECKS:
        results.check(name, getattr(checks, name))


class _Operators(Checks):
    """Each public method is a check."""

    def convolution(self) -> Any:
        """All forms of convolution, over one, two and three dimensions."""
        nd = self.mx.nd
        found = []
        for kernel, groups, dilate, layout in (
            ((3,), 1, (1,), (4, 8, 30)),
            ((3, 3), 1, (1, 1), (2, 8, 20, 20)),
            ((5, 5), 4, (1, 1), (2, 8, 20, 20)),
            ((3, 3), 8, (2, 2), (2, 8, 20, 20)),
            ((1, 1), 1, (1, 1), (2, 8, 20, 20)),
            ((3, 3, 3), 1, (1, 1, 1), (1, 8, 9, 9, 9)),
        ):
            weight = self.array(16, 8 // groups, *kernel, seed=2)
            options = {"kernel": kernel, "num_filter": 16, "num_group": groups, "dilate": dilate}
            found.append(
                self.differentiated(
                    lambda x, w, b, o=options: nd.Convolution(x, w, b, **o),
                    self.array(*layout),
                    weight,
                    self.array(16, seed=3),
                )
            )
        found.append(
            self.differentiated(
                lambda x, w: nd.Deconvolution(
                    x, w, kernel=(4, 4), stride=(2, 2), pad=(1, 1), num_filter=8, no_bias=True
                ),
                self.array(2, 16, 10, 10),
                self.array(16, 8, 4, 4, seed=2),
            )
        )
        return found

    def recurrent(self) -> Any:
        """LSTM, GRU and plain layers, fused, in both directions; and cells unrolled."""
        mx = self.mx
        rnn = mx.gluon.rnn
        found = []
        for layer in (
            rnn.LSTM(32, 2, bidirectional=True),
            rnn.GRU(32, 2),
            rnn.RNN(32, activation="tanh"),
        ):
            mx.random.seed(5)
            layer.initialize(mx.init.Xavier())
            found.append(self.differentiated(layer, self.array(12, 4, 16)))
        cell = rnn.LSTMCell(8)
        mx.random.seed(6)
        cell.initialize(mx.init.Xavier())
        inputs = self.array(2, 5, 8)
        found.append(
            self.differentiated(lambda x: cell.unroll(5, x, merge_outputs=True)[0], inputs)
        )
        return found

    def normalisation(self) -> Any:
        """Batch, layer, group and instance normalisation, LRN, L2, dropout when not training."""
        nd = self.mx.nd
        x = self.array(4, 8, 6, 6)
        gamma, beta = self.array(8, seed=2), self.array(8, seed=3)
        mean, variance = self.array(8, seed=4), self.array(8, seed=5, positive=True)
        wide = self.array(6, seed=6), self.array(6, seed=7)
        return [
            self.differentiated(
                lambda x, g, b: nd.BatchNorm(x, g, b, mean, variance, fix_gamma=False),
                x,
                gamma,
                beta,
            ),
            [mean, variance],
            self.differentiated(nd.LayerNorm, x, *wide),
            self.differentiated(
                lambda x, g, b: nd.GroupNorm(x, g, b, num_groups=4),
                x,
                self.array(4, seed=2),
                self.array(4, seed=3),
            ),
            self.differentiated(nd.InstanceNorm, x, gamma, beta),
            self.differentiated(lambda x: nd.LRN(x, nsize=3), x),
            self.differentiated(lambda x: nd.L2Normalization(x, mode="channel"), x),
            nd.Dropout(x, p=0.5),
        ]

    def pooling_and_shapes(self) -> Any:
        """Pooling of all kinds, padding, upsampling, slices, concatenation, transposition."""
        nd = self.mx.nd
        x = self.array(2, 4, 12, 12)
        pooled = [
            self.differentiated(
                lambda x, k=kind: nd.Pooling(x, kernel=(3, 3), stride=(2, 2), pool_type=k), x
            )
            for kind in ("max", "avg", "sum")
        ]
        return [
            *pooled,
            self.differentiated(lambda x: nd.Pooling(x, global_pool=True, pool_type="avg"), x),
            self.differentiated(
                lambda x: nd.pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 2, 2, 1, 1)), x
            ),
            self.differentiated(lambda x: nd.UpSampling(x, scale=2, sample_type="nearest"), x),
            self.differentiated(lambda x: nd.concat(x, x * 2, dim=1), x),
            self.differentiated(lambda x: nd.slice_axis(x, axis=2, begin=2, end=9), x),
            self.differentiated(lambda x: nd.transpose(x, (3, 1, 0, 2)), x),
            self.differentiated(lambda x: nd.tile(x, (2, 1, 3, 1)), x),
            self.differentiated(lambda x: nd.flip(x, axis=3), x),
            self.differentiated(lambda x: nd.space_to_depth(x, 2), x),
            self.differentiated(lambda x: nd.split(x, 4, axis=1), x),
            self.differentiated(lambda x: nd.stack(x, x, axis=2), x),
        ]

    def sorting(self) -> Any:
        """sort, argsort and topk by each axis and kind; argmax and pick."""
        nd = self.mx.nd
        x = self.array(7, 9, 11)
        found = [
            nd.argmax(x, axis=1),
            nd.argmin(x, axis=2),
            nd.pick(x, nd.argmax(x, axis=2), axis=2),
        ]
        for axis in (0, 1, 2, None):
            for ascending in (True, False):
                found.append(nd.sort(x, axis=axis, is_ascend=ascending))
                found.append(nd.argsort(x, axis=axis, is_ascend=ascending))
        kinds = ("value", "indices", "mask", "both")
        found += [nd.topk(x, axis=1, k=4, ret_typ=kind) for kind in kinds]
        found.append(nd.array(self.np.arange(20), dtype="int32")[::-1].sort())
        return found

    def linear_algebra(self) -> Any:
        """The linalg operators: products, Cholesky, triangular, eigenvalues, LQ, SVD, inverse."""
        nd = self.mx.nd
        a = self.array(3, 6, 6)
        spd = nd.linalg.gemm2(a, a, transpose_b=True) + nd.array(self.np.eye(6)) * 6
        wide = self.array(3, 4, 6, seed=4)
        factor = nd.linalg.potrf(spd)
        found = [
            self.differentiated(nd.linalg.potrf, spd.copy()),
            self.differentiated(nd.linalg.potri, factor.copy()),
            self.differentiated(nd.linalg.trsm, factor.copy(), a.copy()),
            self.differentiated(nd.linalg.trmm, factor.copy(), a.copy()),
            self.differentiated(nd.linalg.syrk, a.copy()),
            self.differentiated(nd.linalg.gelqf, wide.copy()),
            self.differentiated(nd.linalg.syevd, spd.copy()),
            self.differentiated(nd.linalg.inverse, spd.copy()),
            self.differentiated(nd.linalg.slogdet, spd.copy()),
            self.differentiated(nd.linalg.sumlogdiag, factor.copy()),
            self.differentiated(nd.dot, self.array(30, 40), self.array(40, 20, seed=2)),
            self.differentiated(nd.batch_dot, self.array(3, 5, 6), self.array(3, 6, 7, seed=2)),
        ]
        np_ = self.mx.np
        square = np_.array(a.asnumpy())
        found += [np_.linalg.svd(square), np_.linalg.eigvalsh(np_.array(spd.asnumpy()))]
        found += [np_.linalg.solve(square, square), np_.linalg.pinv(square)]
        found += [np_.linalg.lstsq(square[0], square[1])[0]]
        return found

    def images(self) -> Any:
        """Image operators, boxes, samplers."""
        mx = self.mx
        nd = mx.nd
        values = self.np.random.RandomState(8).randint(0, 256, (40, 60, 3)).astype("uint8")
        picture = nd.array(values, dtype="uint8")
        tensor = nd.image.to_tensor(picture)
        grid = nd.GridGenerator(
            self.array(2, 6, seed=3), transform_type="affine", target_shape=(9, 9)
        )
        boxes = self.np.random.RandomState(9).uniform(0, 20, (1, 12, 6)).astype("float32")
        boxes[..., 4:] += 20
        regions = nd.array([[0, 1, 1, 9, 9], [1, 2, 3, 10, 8]])
        batch = self.array(2, 3, 16, 16)
        return [
            tensor,
            nd.image.normalize(tensor, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
            nd.image.resize(picture, (31, 17)),
            nd.image.crop(picture, 3, 4, 20, 10),
            nd.image.flip_left_right(picture),
            nd.image.flip_top_bottom(picture),
            mx.image.imresize(picture, 20, 20, interp=2),
            nd.contrib.BilinearResize2D(batch, height=23, width=9),
            nd.contrib.AdaptiveAvgPooling2D(batch, output_size=(5, 7)),
            nd.contrib.box_nms(nd.array(boxes), overlap_thresh=0.3, coord_start=2),
            nd.contrib.box_iou(nd.array(boxes[0, :, 2:]), nd.array(boxes[0, :, 2:])),
            nd.contrib.ROIAlign(batch, regions, (4, 4), 1.0),
            self.differentiated(nd.BilinearSampler, batch, grid),
            self.differentiated(lambda x: nd.ROIPooling(x, regions, (4, 4), 1.0), batch),
            nd.contrib.MultiBoxPrior(batch, sizes=[0.5, 0.2], ratios=[1, 2]),
        ]

    def losses_and_indexing(self) -> Any:
        """Softmax and losses, embeddings, gathering, one-hot, sequences, CTC."""
        nd, loss = self.mx.nd, self.mx.gluon.loss
        x, label = self.array(6, 10), nd.array([1, 2, 3, 4, 5, 6])
        picks = nd.array([[0, 1, 2], [3, 4, 5]])
        steps = self.array(10, 4, 8)
        lengths = nd.array([3, 10, 5, 1])
        ctc = loss.CTCLoss(layout="TNC", label_layout="NT")
        return [
            self.differentiated(lambda x: loss.SoftmaxCrossEntropyLoss()(x, label), x),
            self.differentiated(lambda x: loss.SigmoidBCELoss()(x, x * 0.3), x),
            self.differentiated(lambda x: loss.HuberLoss()(x, x * 0.3), x),
            self.differentiated(lambda x: loss.KLDivLoss()(x, nd.softmax(x)), x),
            self.differentiated(lambda x: ctc(x, nd.array([[1, 2, 3]] * 4)), steps),
            self.differentiated(nd.log_softmax, x),
            self.differentiated(lambda w: nd.Embedding(picks, w, input_dim=6, output_dim=10), x),
            self.differentiated(lambda w: nd.take(w, picks), x),
            self.differentiated(lambda w: nd.gather_nd(w, picks), x),
            self.differentiated(
                lambda s: nd.SequenceMask(s, lengths, use_sequence_length=True), steps
            ),
            self.differentiated(
                lambda s: nd.SequenceReverse(s, lengths, use_sequence_length=True), steps
            ),
            nd.one_hot(label, 9),
            nd.where(x > 0, x, -x),
            self.mx.nd.contrib.boolean_mask(x, label > 3),
        ]

    def sparse(self) -> Any:
        """Sparse arrays: conversion, products, retained rows."""
        nd = self.mx.nd
        x = self.array(20, 30)
        x = nd.where(nd.abs(x) > 1.2, x, nd.zeros_like(x))
        csr, rows = x.tostype("csr"), x.tostype("row_sparse")
        return [
            csr.data,
            csr.indices,
            csr.indptr,
            nd.sparse.dot(csr, self.array(30, 5)),
            nd.sparse.dot(csr, self.array(20, 5), transpose_a=True).tostype("default"),
            nd.sparse.retain(rows, nd.array([1, 3, 5])).tostype("default"),
            nd.sparse.add(rows, rows).tostype("default"),
            (csr * 3).tostype("default"),
        ]


if __name__ == "__main__":
    main()
