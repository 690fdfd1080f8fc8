"""Small published tables, with their sources, so that every clone is held to them.

None is a missing rating.
"""

_ = None

# Krippendorff 2011, Computing Krippendorff's Alpha-Reliability: 4 observers by 12 units.
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
KRIPPENDORFF_ALPHA = {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849, "ratio": 0.797}

# Wikipedia, Krippendorff's alpha: 3 coders by 15 units.
WIKIPEDIA = [
    [_, _, _, _, _, 3, 4, 1, 2, 1, 1, 3, 3, _, 3],
    [1, _, 2, 1, 3, 3, 4, 3, _, _, _, _, _, _, _],
    [_, _, 2, 1, 3, 4, 4, _, 2, 1, 1, 3, 3, _, 4],
]
WIKIPEDIA_ALPHA = {"nominal": 0.691, "interval": 0.811}

# Fleiss 1971, Psychological Bulletin 76: 30 patients by 6 psychiatrists; kappa = .430.
FLEISS = (
    "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 "
    "144444 224445 333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 "
    "111155 224444 133333 555555"
)

# Wikipedia, Fleiss' kappa: 10 subjects by 5 categories, 14 raters; kappa = .210.
FLEISS_COUNTS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]

# Cohen 1960, Educ Psychol Meas 20: kappa = .492; Cohen 1968 weighs the disagreement: .348.
COHEN = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
COHEN_1968 = [[0, 1, 3], [1, 0, 6], [3, 6, 0]]

# A SAS printout, quoted in the tests of statsmodels: kappa .4842, ASE .1380, .2137 to .7547.
SAS = [[0, 4, 1], [0, 8, 0], [0, 1, 5]]

# Feinstein and Cicchetti 1990, J Clin Epidemiol 43: both agree in 85 % of cases.
PARADOX = {"kappa .70, AC1 .70": [[40, 9], [6, 45]], "kappa .32, AC1 .81": [[80, 10], [5, 5]]}

# Gwet 2021, Handbook of Inter-Rater Reliability, 5th ed., p. 165: 20 subjects (rows) by 5 raters;
# AC1 .5021, AC2 with quadratic weights .8224.
GWET = [
    [1, 1, 2, _, 2],
    [1, 1, 0, 1, _],
    [2, 3, 3, 3, _],
    [_, 0, 0, _, 0],
    [0, 0, 0, _, 0],
    [0, 0, 0, _, 0],
    [1, 0, 2, _, 1],
    [1, _, 2, 0, _],
    [2, 2, 2, _, 2],
    [2, 1, 1, 1, _],
    [_, 1, 0, 0, _],
    [0, 0, 0, 0, _],
    [1, 2, 2, 2, _],
    [3, 3, 2, 2, 3],
    [1, 1, 1, _, 1],
    [1, 1, 1, _, 1],
    [2, 1, 2, _, 2],
    [1, 2, 3, 3, _],
    [1, 1, 0, 1, _],
    [0, 0, 0, _, 0],
]

# Clark-Carter 2018, Quantitative Psychological Research: W = .6875.
CLARK_CARTER = [[1, 2, 3, 4, 5], [2, 1, 4, 3, 5], [3, 2, 1, 5, 4], [1, 3, 2, 4, 5]]

# Gwet 2014, Handbook of Inter-Rater Reliability, 4th ed.: W = .887 with the correction for ties.
GWET_W = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]

# Stigler 1994; Agresti 2002, Categorical Data Analysis, p. 448: citations among journals of
# statistics, the cited one wins. Log-worth 0, -2.949, -0.480, 0.269; deviance 4.293 on 3 df.
JOURNALS = ["Biometrika", "Comm Statist", "JASA", "JRSS-B"]
CITATIONS = [[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]]

# Dawid and Skene 1979, Applied Statistics 28, table 1: 45 patients, 5 anaesthetists; the first
# assessed each patient three times.
ANAESTHETISTS = (
    "111 1111,333 4334,112 2122,222 3121,222 3222,222 3322,122 2111,333 3433,222 2223,232 2223,"
    "444 4444,222 3343,111 1111,222 3212,121 1111,111 2111,111 1111,111 1111,222 2221,222 1322,"
    "222 2222,222 2221,222 3222,221 2222,111 1111,111 1111,232 2222,111 1111,111 1111,112 1121,"
    "111 1111,333 3233,111 1111,222 2222,222 3232,433 4343,221 2232,232 3233,333 3432,111 1111,"
    "111 1111,121 2111,232 2222,121 1111,222 2222"
)
# Their tables 2 and 3: how common each class is, and how often each observer is right of it.
PREVALENCE = [0.40, 0.42, 0.11, 0.07]
RIGHT = [
    [0.89, 0.88, 0.66, 0.44],
    [0.83, 0.63, 1.00, 1.00],
    [1.00, 0.79, 0.20, 0.33],
    [0.94, 0.84, 0.80, 0.67],
    [1.00, 0.73, 0.79, 0.67],
]
