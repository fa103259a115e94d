# Variance, degrees of freedom and interval of a clustered mean by R's clubSandwich, for tests/stats/test_clubsandwich.py.
#
#   Rscript benchmarks/cr2_reference.R > tests/stats/cr2_reference.csv
#
# On Debian: apt-get install r-base-core r-cran-clubsandwich.  About a minute and a half.
#
# The scores are given by arithmetic, without random numbers, so that the test makes the same ones.  Korn and Graubard's
# bounds are R's qbeta at clubSandwich's variance and degrees of freedom.

suppressPackageStartupMessages(library(clubSandwich))

equal_parts <- function(rows, clusters) diff(floor((0:clusters) * rows / clusters))

shapes <- list(
  "VQA-RAD" = rep(1:7, c(62, 79, 33, 19, 5, 4, 1)),
  "SLAKE" = rep(c(5:18, 20), c(2, 2, 7, 16, 15, 10, 5, 6, 1, 5, 22, 2, 1, 1, 1)),
  "ColonINST CLS unseen" = c(
    equal_parts(29592, 105), equal_parts(4872, 17), equal_parts(1129, 46), equal_parts(2306, 64),
    equal_parts(1658, 43), equal_parts(5727, 5727)
  ),
  "ColonINST REG seen" = c(equal_parts(4214, 17), equal_parts(660, 660)),
  "12 images, uneven" = c(40, 20, 10, rep(3, 9)),
  "20 images x 5" = rep(5, 20)
)

# Number of the cluster (g) and of the row within it (j), both from 0.
scores <- function(sizes, kind) {
  g <- rep(seq_along(sizes) - 1, sizes)
  j <- sequence(sizes) - 1
  base <- (2 * ((g * 37) %% 101) + (j * 53 + g * 29) %% 101) %/% 3
  switch(kind, half = base < 50, most = base < 80, few_wrong = base < 90, graded = base / 100) + 0
}

found <- list()
for (shape in names(shapes)) for (kind in c("half", "most", "few_wrong", "graded")) {
  sizes <- shapes[[shape]]
  score <- scores(sizes, kind)
  cluster <- rep(seq_along(sizes), sizes)
  fit <- lm(score ~ 1)
  test <- coef_test(fit, vcov = "CR2", cluster = cluster, test = "Satterthwaite")
  mean <- unname(coef(fit))
  variance <- test$SE^2
  n <- mean * (1 - mean) / variance * (qnorm(0.975) / qt(0.975, test$df))^2
  found[[length(found) + 1]] <- data.frame(
    shape = shape, kind = kind, rows = length(score), clusters = length(sizes),
    mean = mean, variance = variance, degrees = test$df,
    low = qbeta(0.025, mean * n, n - mean * n + 1), high = qbeta(0.975, mean * n + 1, n - mean * n)
  )
}

cat(sprintf(
  "# clubSandwich %s, %s; command in benchmarks/cr2_reference.R\n",
  packageVersion("clubSandwich"), R.version.string
))
write.csv(format(do.call(rbind, found), digits = 12, trim = TRUE), row.names = FALSE, quote = 1:2)
