"""Synonyms in medical answers, as data: evalkit's own list, versioned, deliberately small.

An entry is included only if swapping the two terms can never turn a wrong answer into a right one.  Hence left, right,
upper, lower, anterior, posterior and similar words are in no group: a side is never merged with anything but its own
spelling.  The first form of each group is its canonical form: the long one where its words are meaningful on their
own, so that "left" is still one third of "LLL".
"""

from __future__ import annotations

VERSION = 1

GROUPS: tuple[tuple[str, ...], ...] = (
    # modalities
    (
        "mri",
        "mr",
        "mr imaging",
        "mr image",
        "magnetic resonance",
        "magnetic resonance imaging",
        "magnetic resonance image",
    ),
    ("ct", "cat scan", "computed tomography", "computerized tomography", "computerised tomography"),
    (
        "xray",
        "x ray",
        "x-ray",
        "xr",
        "x rays",
        "x-rays",
        "xrays",
        "radiograph",
        "radiographs",
        "plain film",
        "plain films",
    ),
    ("ultrasound", "usg", "sonogram", "sonography", "ultrasonography", "ultrasonogram"),
    ("pet", "positron emission tomography"),
    ("pet ct", "pet-ct", "pet/ct", "petct"),
    ("dwi", "diffusion weighted imaging", "diffusion-weighted imaging"),
    ("flair", "fluid attenuated inversion recovery", "fluid-attenuated inversion recovery"),
    ("t1", "t1 weighted", "t1-weighted", "t1w", "t1wi"),
    ("t2", "t2 weighted", "t2-weighted", "t2w", "t2wi"),
    ("chest xray", "cxr", "chest x-ray", "chest radiograph"),
    ("cta", "ct angiography", "ct angiogram", "computed tomography angiography"),
    ("mra", "mr angiography", "mr angiogram", "magnetic resonance angiography"),
    ("h&e", "h and e", "hematoxylin and eosin", "haematoxylin and eosin"),
    # planes and projections
    ("axial", "transverse", "transaxial", "horizontal plane", "axial plane", "transverse plane"),
    ("coronal", "coronal plane", "frontal plane"),
    ("sagittal", "saggital", "sagittal plane"),
    ("pa", "posteroanterior", "posterior-anterior", "posterior anterior", "postero-anterior"),
    ("ap", "anteroposterior", "anterior-posterior", "anterior posterior", "antero-posterior"),
    # anatomy
    ("central nervous system", "cns"),
    ("gastrointestinal", "gi"),
    ("inferior vena cava", "ivc"),
    ("superior vena cava", "svc"),
    ("cerebrospinal fluid", "csf"),
    ("gallbladder", "gall bladder"),
    ("kidney", "kidneys"),
    ("lung", "lungs"),
    ("esophagus", "oesophagus"),
    ("small bowel", "small intestine"),
    ("large bowel", "large intestine"),
    ("vertebra", "vertebrae"),
    ("spinal cord", "medulla spinalis"),
    ("right lower lobe", "rll"),
    ("right middle lobe", "rml"),
    ("right upper lobe", "rul"),
    ("left lower lobe", "lll"),
    ("left upper lobe", "lul"),
    # findings
    ("myocardial infarction", "mi"),
    ("pulmonary embolism", "pe", "pulmonary embolus"),
    ("arteriovenous malformation", "avm"),
    ("abdominal aortic aneurysm", "aaa"),
    ("subarachnoid hemorrhage", "sah", "subarachnoid haemorrhage"),
    ("subdural hematoma", "sdh", "subdural haematoma"),
    ("glioblastoma", "gbm", "glioblastoma multiforme"),
    ("hepatocellular carcinoma", "hcc"),
    ("renal cell carcinoma", "rcc"),
    ("squamous cell carcinoma", "scc"),
    ("tuberculosis", "tb"),
    ("hemorrhage", "haemorrhage"),
    ("hematoma", "haematoma"),
    ("edema", "oedema"),
    ("ischemia", "ischaemia"),
    ("ischemic", "ischaemic"),
    ("anemia", "anaemia"),
    ("tumor", "tumour"),
    ("tumors", "tumours"),
    ("leukemia", "leukaemia"),
    ("cardiomegaly", "enlarged heart", "cardiac enlargement"),
    ("hyperdense", "high density", "high-density"),
    ("hypodense", "low density", "low-density"),
    ("calcification", "calcifications"),
    # other
    ("bilateral", "bilaterally", "on both sides"),
    ("center", "centre"),
    ("gray", "grey"),
    ("color", "colour"),
    ("iv contrast", "intravenous contrast"),
    ("male", "man"),
    ("female", "woman"),
)

# Mutually exclusive words: an answer that names two words of one set has not chosen between them.
EXCLUSIVE: tuple[frozenset[str], ...] = (
    frozenset({"left", "right", "both", "bilateral"}),
    frozenset({"bilateral", "unilateral"}),
    frozenset({"male", "female"}),
    frozenset({"mri", "ct", "xray", "ultrasound", "pet"}),
    frozenset({"t1", "t2", "flair", "dwi"}),
    frozenset({"axial", "coronal", "sagittal"}),
    frozenset({"pa", "ap", "lateral"}),
    frozenset({"normal", "abnormal"}),
    frozenset({"upper", "lower"}),
    frozenset({"anterior", "posterior"}),
    frozenset({"superior", "inferior"}),
    frozenset({"medial", "lateral"}),
    frozenset({"proximal", "distal"}),
    frozenset({"benign", "malignant"}),
    frozenset({"cystic", "solid"}),
    frozenset({"supratentorial", "infratentorial"}),
    frozenset({"hyperdense", "hypodense", "isodense"}),
    frozenset({"smaller", "larger"}),
)

_ZERO_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBERS = {word: str(value) for value, word in enumerate(_ZERO_TO_TWENTY.split())}
