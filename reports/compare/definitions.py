"""What every number in a report means, and where it was defined: names in every format, one click away on the page."""

from typing import NamedTuple


class Definition(NamedTuple):
    name: str
    meaning: str
    source: str


DEFINITIONS = {
    "pairs": Definition(
        "pairs, references",
        "A pair is a distorted image and its reference. Pairs of one reference are not independent, so certainty "
        "grows with the number of references, not of pairs.",
        "Field, Welsh 2007. Bootstrapping clustered data. Journal of the Royal Statistical Society B 69(3), 369-390.",
    ),
    "plcc": Definition(
        "PLCC",
        "Pearson's linear correlation of predictions and labels, without any fitted mapping. Predictions are "
        "oriented by the metric's documented direction, so a negative value means disagreement with people.",
        "Pearson 1895. Notes on regression and inheritance in the case of two parents. Proceedings of the Royal "
        "Society of London 58, 240-242.",
    ),
    "plcc_fit": Definition(
        "PLCC, fitted",
        "PLCC after a monotonic mapping fitted to all pairs of the group by least squares. In resamples the "
        "mapping is kept as fitted once, so its interval leaves out the (small) uncertainty of the mapping. "
        "Withheld where the fitted curve falls somewhere.",
        "VQEG 2003. Final report on the validation of objective models of video quality assessment, phase II.",
    ),
    "srcc": Definition(
        "SRCC",
        "Spearman's rank correlation: Pearson's of the ranks, ties at their mean rank.",
        "Spearman 1904. The proof and measurement of association between two things. American Journal of "
        "Psychology 15(1), 72-101.",
    ),
    "krcc": Definition(
        "KRCC",
        "Kendall's tau-b: concordant minus discordant pairs of images, over the geometric mean of the numbers of "
        "pairs not tied in either variable.",
        "Kendall 1945. The treatment of ties in ranking problems. Biometrika 33(3), 239-251.",
    ),
    "per_reference": Definition(
        "mean of references",
        "The coefficient of each reference's own images, averaged over references: how well a metric orders the "
        "versions of one image.",
        "ITU-T P.1401 (2020). Methods, metrics and procedures for statistical evaluation of objective quality models.",
    ),
    "within": Definition(
        "within references",
        "The coefficient of each reference's own images, averaged as Fisher's z with the weight pairs - 3, and "
        "turned back.",
        "Hedges, Olkin 1985. Statistical methods for meta-analysis. Academic Press, chapter 11.",
    ),
    "interval": Definition(
        "95 % interval",
        "Of one coefficient alone: on Fisher's z, Student's t with references - 1 degrees of freedom times the "
        "standard error, a jackknife that leaves each reference out once. No verdict rests on it.",
        "Cameron, Miller 2015. A practitioner's guide to cluster-robust inference. Journal of Human Resources "
        "50(2), 317-372; Efron, Stein 1981. The jackknife estimate of variance. Annals of Statistics 9(3), "
        "586-596.",
    ),
    "percentile": Definition(
        "95 % interval, percentile",
        "The 2.5 % and 97.5 % quantiles over resamples of the references. Too short where references are few.",
        "Efron, Tibshirani 1993. An introduction to the bootstrap. Chapman and Hall, chapter 13; Field, Welsh "
        "2007 (see references).",
    ),
    "bca": Definition(
        "95 % interval, BCa",
        "The same, corrected for bias and acceleration by leaving each reference out once. Too short where "
        "references are few.",
        "Efron 1987. Better bootstrap confidence intervals. Journal of the American Statistical Association "
        "82(397), 171-185.",
    ),
    "simultaneous": Definition(
        "simultaneous intervals",
        "Intervals of all differences of a table that hold together in 95 % of experiments: so many standard errors "
        "(jackknife) on either side, as many for all. How many: references are resampled, the same for all metrics; "
        "in every resample the largest difference is noted, each in its own standard error there, to first order from "
        "what leaving out each reference does; or Student's quantile at 5 % over their number (Bonferroni), where that "
        "is smaller, as it is with few references.",
        "Romano, Wolf 2005. Exact and approximate stepdown methods for multiple hypothesis testing. Econometrica "
        "73(4), 1237-1282; Efron 1982. The jackknife, the bootstrap and other resampling plans. SIAM, chapter 10; "
        "Cameron, Gelbach, Miller 2008. Bootstrap-based improvements for inference with clustered errors. Review of "
        "Economics and Statistics 90(3), 414-427.",
    ),
    "verdict": Definition(
        "verdict",
        "better, worse: the simultaneous interval of the difference leaves zero out. Equivalent (--margin): both "
        "one-sided tests place the difference inside the margin. Not shown different: neither, which is no proof "
        "of equality; the detectable difference says what could have been seen. Undecided: an end of the "
        "interval is within three of its Monte-Carlo standard errors of zero, so that other resamples might say "
        "otherwise.",
        "Schuirmann 1987. A comparison of the two one-sided tests procedure and the power approach. Journal of "
        "Pharmacokinetics and Biopharmaceutics 15(6), 657-680 (equivalence).",
    ),
    "detectable": Definition(
        "detectable difference",
        "The smallest true difference that would have been shown in 80 % of such experiments: the interval's "
        "half width and Student's 80 % quantile of standard errors.",
        "Cohen 1988. Statistical power analysis for the behavioral sciences, chapter 1.",
    ),
    "letters": Definition(
        "letters",
        "Compact letter display, column by column: two metrics with a letter in common are not shown different; two "
        "with none are.",
        "Piepho 2004. An algorithm for a letter-based representation of all-pairwise comparisons. Journal of "
        "Computational and Graphical Statistics 13(2), 456-466.",
    ),
    "best": Definition(
        "as good as the best",
        "Multiple comparisons with the best, from the simultaneous intervals: the metrics that no other is shown to be "
        "better than. With 95 % certainty the truly best one is among them. As the intervals are those of all "
        "pairs, the set is never smaller than Hsu's own, which asks about the best one only.",
        "Hsu 1996. Multiple comparisons: theory and methods. Chapman and Hall, chapter 4.",
    ),
    "ceiling": Definition(
        "noise ceiling",
        "The coefficient that the true quality itself would have with these labels, which are means of "
        "scattering ratings. PLCC: the root of the labels' reliability; SRCC and KRCC: mean of simulations with "
        "the labels' standard errors. No metric can be expected above it.",
        "Lord, Novick 1968. Statistical theories of mental test scores, section 3.4; Spearman 1904 (see SRCC).",
    ),
    "ranks": Definition(
        "mean ranks",
        "Rank of each metric by its coefficient on each dataset (1: best), averaged. Friedman's test asks "
        "whether the ranks could be chance; mean ranks that differ by less than Nemenyi's critical difference "
        "are not shown different.",
        "Demsar 2006. Statistical comparisons of classifiers over multiple data sets. Journal of Machine "
        "Learning Research 7, 1-30.",
    ),
    "effect": Definition(
        "mean difference over datasets",
        "Each dataset's difference weighted by its certainty, every dataset taken as a draw from datasets like "
        "these; Student's interval with datasets - 1 degrees of freedom.",
        "DerSimonian, Laird 1986. Meta-analysis in clinical trials. Controlled Clinical Trials 7, 177-188; "
        "Hartung, Knapp 2001. Statistics in Medicine 20, 3875-3889.",
    ),
    "p_bootstrap": Definition(
        "p, all at once",
        "Share of resamples in which any difference of the table is as far from zero as this one, in standard errors, "
        "or Bonferroni's p where that is smaller: at or below .05 exactly where the simultaneous interval leaves zero "
        "out. <= marks the smallest p that so many resamples can give. The step-down p (Romano and Wolf; Holm), never "
        "larger, is in CSV and JSON.",
        "Romano, Wolf 2005. Exact and approximate stepdown methods for multiple hypothesis testing. Econometrica "
        "73(4), 1237-1282.",
    ),
    "williams": Definition(
        "p, Williams",
        "Test of two dependent correlations that share the label. It takes all pairs as independent, which pairs "
        "of one reference are not: read it beside the bootstrap.",
        "Williams 1959. The comparison of regression variables. Journal of the Royal Statistical Society B "
        "21(2), 396-399; Steiger 1980, T2.",
    ),
    "steiger": Definition(
        "p, Steiger",
        "The same question on Fisher's z, with the pooled correlation.",
        "Steiger 1980. Tests for comparing elements of a correlation matrix. Psychological Bulletin 87(2), 245-251.",
    ),
    "meng": Definition(
        "p, Meng",
        "The same question on Fisher's z, in the form of Meng, Rosenthal and Rubin.",
        "Meng, Rosenthal, Rubin 1992. Comparing correlated correlation coefficients. Psychological Bulletin "
        "111(1), 172-175.",
    ),
    "zou": Definition(
        "Zou's interval",
        "95 % interval of the difference of two dependent correlations, from their separate intervals. Takes all "
        "pairs as independent.",
        "Zou 2007. Toward using confidence intervals to compare correlations. Psychological Methods 12(4), 399-413.",
    ),
    "r12": Definition(
        "r of the two predictions",
        "Correlation of the two metrics' predictions (of their ranks, for SRCC). Above 0.99 the classical tests "
        "call the smallest difference significant.",
        "Steiger 1980. Tests for comparing elements of a correlation matrix. Psychological Bulletin 87(2), 245-251.",
    ),
    "independent": Definition(
        "pairs taken as independent",
        "Times: the standard error of the statistic between references (jackknife) over the one that its formula "
        "assumes. Above 1 the formula promises more certainty than there is; below 1 it sees less than there is, "
        "as it does not know that both metrics saw the same images. p, references: what follows from the error "
        "between references. !: the two p fall on two sides of .05.",
        "Kish 1965. Survey sampling. Wiley, section 8.2 (the design effect); Efron, Stein 1981 (see 95 % interval).",
    ),
    "sheikh": Definition(
        "F-test of residuals",
        "Variance of what the fitted mapping leaves of the labels, B's over A's: above 1, A fits better. It needs "
        "normal residuals: see kurtosis. Takes all pairs as independent, and the two metrics as seen on different "
        "images.",
        "Sheikh, Sabir, Bovik 2006. A statistical evaluation of recent full reference image quality assessment "
        "algorithms. IEEE Transactions on Image Processing 15(11), 3440-3451.",
    ),
    "kurtosis": Definition(
        "kurtosis of residuals",
        "Fourth central moment over the squared variance, 3 for a normal distribution. Residuals count as Gaussian "
        "between 2 and 4; elsewhere the F-test is not valid.",
        "Sheikh, Sabir, Bovik 2006 (see F-test of residuals).",
    ),
    "rmse_star_test": Definition(
        "F-test of RMSE*",
        "Squared RMSE*, B's over A's, each with the pairs minus the mapping's parameters as degrees of "
        "freedom. What exceeds an interval is zero for many pairs and so never normal. Two-sided p.",
        "ITU-T P.1401 (2020). Methods, metrics and procedures for statistical evaluation of objective quality "
        "models, 7.6.4 and 7.7.",
    ),
    "outlier_test": Definition(
        "test of outlier ratios",
        "B's share of outliers minus A's over its standard error, both taken as binomial with one common share.",
        "ITU-T P.1401 (2020), 7.6.2.",
    ),
    "fisher": Definition(
        "Fisher's interval",
        "95 % interval of a correlation of independent pairs: on Fisher's z, standard error 1 / sqrt(pairs - 3), for "
        "SRCC times sqrt(1 + SRCC^2 / 2).",
        "Fisher 1921. Metron 1, 3-32; Bonett, Wright 2000. Psychometrika 65(1), 23-28.",
    ),
    "mappings": Definition(
        "other mappings",
        "Whether the verdicts on the fitted PLCC (pooled, per and within references) would be others had the labels "
        "been fitted by another of the mappings below: same critical value, its own coefficient and standard error.",
        "This project's check; the mappings have their own entries.",
    ),
    "holm": Definition(
        "Holm's correction",
        "p-values adjusted so that the chance of any false alarm among all pairs of metrics stays below 5 %.",
        "Holm 1979. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics "
        "6(2), 65-70.",
    ),
    "logistic4": Definition(
        "4-parameter logistic",
        "y = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4)).",
        "VQEG 2003. Final report on the validation of objective models of video quality assessment, phase II.",
    ),
    "logistic5": Definition(
        "5-parameter logistic",
        "y = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5. Its linear term can make it fall.",
        "Sheikh, Sabir, Bovik 2006. A statistical evaluation of recent full reference image quality assessment "
        "algorithms. IEEE Transactions on Image Processing 15(11), 3440-3451.",
    ),
    "cubic": Definition(
        "third-order polynomial",
        "y = b1 + b2 x + b3 x^2 + b4 x^3, the best one that falls nowhere over the data.",
        "ITU-T P.1401 (2020). Methods, metrics and procedures for statistical evaluation of objective quality models.",
    ),
    "convergence": Definition(
        "starts agree",
        "How many of the starts of the fit ended at the minimum of the best one. Unbounded: the labels do not "
        "level off at that end of the predictions, so that an asymptote lies out of sight: the curve is good, its "
        "parameters would be arbitrary. Kept monotonic: the best cubic falls somewhere, this is the best one that "
        "does not.",
        "Golub, Pereyra 1973. The differentiation of pseudo-inverses and nonlinear least squares problems whose "
        "variables separate. SIAM J. Numer. Anal. 10(2).",
    ),
    "rmse": Definition(
        "RMSE",
        "Root mean squared error after the mapping, on the label's scale, the mapping's parameters counted as "
        "degrees of freedom.",
        "ITU-T P.1401 (2020). Methods, metrics and procedures for statistical evaluation of objective quality models.",
    ),
    "rmse_star": Definition(
        "RMSE*",
        "The same, counting only what an error exceeds the label's own 95 % interval by.",
        "ITU-T P.1401 (2020). Methods, metrics and procedures for statistical evaluation of objective quality models.",
    ),
    "outlier_ratio": Definition(
        "outlier ratio",
        "Share of images whose error exceeds the label's own 95 % interval.",
        "ITU-T P.1401 (2020). Methods, metrics and procedures for statistical evaluation of objective quality models.",
    ),
    "types": Definition(
        "distortion types",
        "The dataset's own codes or folder names. Coefficients within one type; the mapping is the one fitted to "
        "all pairs.",
        "The dataset's own paper: run.py --list names it.",
    ),
    "different_similar": Definition(
        "AUC different/similar",
        "How well |difference of predictions| detects the pairs of images whose scores differ significantly "
        "(two-sided 5 % z-test on the labels and their standard errors).",
        "Krasula, Fliegel, Le Callet, Klíma 2016. On the accuracy of objective image and video quality models: "
        "new methodology for performance evaluation. QoMEX.",
    ),
    "better_worse": Definition(
        "AUC better/worse",
        "How well the signed difference of predictions tells the better of two images that differ significantly.",
        "Krasula, Fliegel, Le Callet, Klíma 2016. On the accuracy of objective image and video quality models: "
        "new methodology for performance evaluation. QoMEX.",
    ),
    "correct": Definition(
        "correct",
        "Share of significantly different pairs of images whose order the metric gets right.",
        "Krasula, Fliegel, Le Callet, Klíma 2016. On the accuracy of objective image and video quality models: "
        "new methodology for performance evaluation. QoMEX.",
    ),
    "change": Definition(
        "change",
        "Coefficient on perturbed images minus coefficient on the plain ones, with the paired interval over "
        "references. It can be positive although the metric's verdicts have changed: see rank flips.",
        "Ghildyal, Barman, Zadtootaghaj 2025. Foundation models boost low-level perceptual similarity metrics. ICASSP.",
    ),
    "flips": Definition(
        "rank flips",
        "Share of pairs of distorted images of one reference whose order under the metric is reversed by the "
        "perturbation. 0: no effect; 0.5: chance.",
        "Kendall 1938. A new measure of rank correlation. Biometrika 30(1/2), 81-93 (the share of discordant pairs).",
    ),
    "floor": Definition(
        "noise floor",
        "The score of a reference against its own perturbed self, as a percentile among the real distortions of "
        "that reference, averaged over references. 0: the metric does not mind the perturbation; 50: it minds it "
        "as much as a middling distortion.",
        "Ghildyal, Liu 2022. Shift-tolerant perceptual similarity metric. ECCV (the question; the percentile is "
        "this project's).",
    ),
    "audit": Definition(
        "audit",
        '"A beats B" (A has the higher SRCC, averaged over the unperturbed groups) is checked in every '
        "coefficient, pooled, per and within references, in every group, and by distortion type. A check holds "
        "or reverses where its own interval, simultaneous over its table, leaves zero out. Holds in part: some "
        "checks hold, none reverses.",
        "This project's summary of the intervals above.",
    ),
}

COLUMNS = {
    "plcc": "PLCC",
    "plcc_fit": "PLCC fitted",
    "srcc": "SRCC",
    "krcc": "KRCC",
    "different_similar": "AUC different/similar",
    "better_worse": "AUC better/worse",
    "correct": "correct",
}
