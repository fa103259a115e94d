// What is shown before the samples are there.  A link to a sample that is not there yet is followed when it is.
let isComplete = false, wanted = null;
about();
notes();
numbers();
baselines();
protocols((id) => { if (isComplete) show(id); else wanted = id; });
slices();
confidence();
$("copy-numbers").addEventListener("click", () => copyRows(rowsOfNumbers(), $("numbers-copied")));
document.documentElement.dataset.numbers = "1";
performance.mark("numbers");
