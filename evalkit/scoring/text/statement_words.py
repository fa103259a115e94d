"""Words of plain statements about a picture, and the words that deny.

A statement is read only if each of its words is here or in the question: any other word may turn its meaning ("the
fracture has healed", "history of fracture", "suspected fracture").
"""

from __future__ import annotations

import re

from evalkit.scoring.text.normalise import word_set

YES_NO = word_set("yes yeah yep yup no nope nah")
NEGATIONS = word_set("no not without absent never neither nor none cannot")
# Left out of the content of a question.
FUNCTION_WORDS = word_set(
    """is are was were be been being am do does did has have had can could may might will would shall should there here
    this that these those it its in on at of for to from with by as or and any some image images picture pictures scan
    scans film slide photo photograph patient patient's shown show shows showing seen see visible present evidence
    evident sign signs appear appears noted identified demonstrated observed found depict depicts depicted contain
    contains what which you your we i"""
)
# Function words that ask, doubt, offer another possibility, or name a purpose ("for", "to rule out").
_NOT_PLAIN = word_set("could may might will would shall should for to from by as or any what which you your")
_FRAME = (FUNCTION_WORDS - _NOT_PLAIN) | word_set(
    """indeed definitely definite clearly certainly obviously obvious evidently actually really also both current
    currently now today again one true correct accurate fact finding impression exam examination study view radiograph
    xray x ray ct mri ultrasound sonogram mammogram lateral frontal ap pa axial sagittal coronal portable panel
    demonstrate demonstrating reveal revealed revealing display displayed depicting visualized visualised visualize
    visualise detected detect identify observe find recognized recognised indicate appreciated appreciable discernible
    perceptible detectable demonstrable exist existing existence presence he she his her their woman man male female
    subject person"""
)
_ANATOMY = word_set(
    """lung chest thorax thoracic hemithorax heart cardiac brain cerebral head neck skull liver hepatic spleen splenic
    kidney renal pancreas pancreatic stomach gastric bowel colon colonic abdomen abdominal pelvis pelvic bladder uterus
    ovary prostate breast thyroid spine spinal vertebra vertebral vertebrae bone bony rib clavicle humerus radius ulna
    femur femoral tibia fibula hip knee ankle foot hand wrist elbow shoulder pleura pleural pulmonary mediastinum
    mediastinal hilum hilar perihilar trachea tracheal bronchus bronchi esophagus diaphragm aorta aortic artery vein
    vessel muscle skin tissue eye retina optic sinus tonsil lobe lobar zone field base space cavity region area side
    body organ structure silhouette border margin size shape intestine cord disc gallbladder peritoneum soft shaft
    costophrenic angle"""
)
_SIDES = word_set(
    """left right upper lower middle mid anterior posterior medial superior inferior proximal distal apical apex basal
    basilar bibasilar bibasal central peripheral subpleural bilateral bilaterally unilateral sided leftsided frontal
    temporal parietal occipital"""
)
_DEGREES = word_set(
    """small tiny large big huge massive sizable sizeable mild mildly moderate moderately severe severely slight
    slightly minimal minimally marked markedly significant significantly considerable considerably extensive
    prominent trace single solitary multiple several numerous few many scattered diffuse diffusely focal patchy
    acute subacute chronic loculated layering round rounded oval irregular lobulated spiculated solid cystic
    calcified dense hyperdense hypodense hyperintense hypointense well defined circumscribed include included
    including stable unchanged persistent persist persisting ongoing new very quite approximately measuring
    measures measure cm mm ml located situated pair positive increased simple complex displaced nondisplaced
    comminuted transverse oblique tension spontaneous shift deviation displacement adjacent associated through"""
)
_FINDINGS = word_set(
    """abnormality lesion mass nodule tumor tumour cyst effusion pneumothorax pneumonia consolidation atelectasis
    opacity opacification opacities edema oedema infiltrate cardiomegaly emphysema fibrosis granuloma fracture
    dislocation hemorrhage haemorrhage bleed bleeding hematoma infarct infarction ischemia stroke hydrocephalus
    aneurysm thrombus embolism stenosis calcification lymphadenopathy hernia obstruction perforation ascites
    abscess inflammation infection necrosis metastasis metastases cancer carcinoma malignancy scoliosis osteophyte
    pneumoperitoneum pneumomediastinum hydropneumothorax ulcer polyp thickening enlargement swelling air fluid
    bronchiectasis kyphosis osteoporosis osteopenia spondylosis stone gallstone sclerosis enlarged dilated hyperinflated
    congestion vascular interstitial alveolar airspace reticular nodular ground glass"""
)
NORMALITY = word_set("clear normal healthy unremarkable intact expanded well fully aerated inflated sharp")
# "The right lung is normal", "the liver is normal in size": not all that "is it normal?" asks for.
PARTS = _SIDES | word_set("size shape border margin position")
_PLAIN = _FRAME | _ANATOMY | _SIDES | _DEGREES | _FINDINGS
# Around what is denied a size, a side or another finding may be all that is denied ("no large effusion").
_FRAME_DENIED = _FRAME | word_set(
    """convincing clear radiographic radiographically suggest suggesting longer anywhere apparent case indicated
    perceived reported documented"""
)
_PLAIN_DENIED = _FRAME_DENIED | _ANATOMY
_BEFORE_DENIAL = _PLAIN_DENIED | NORMALITY | word_set("argue speak evaluation completely interval")

OPPOSITES = tuple(
    frozenset(pair)
    for pair in (
        ("left", "right"), ("upper", "lower"), ("anterior", "posterior"), ("superior", "inferior"),
        ("medial", "lateral"), ("proximal", "distal"), ("central", "peripheral"), ("normal", "abnormal"),
        ("benign", "malignant"), ("acute", "chronic"), ("male", "female"), ("bilateral", "unilateral"),
        ("large", "small"), ("mild", "severe"),
    )
)  # fmt: skip

# Words and phrases that deny what stands right before or right after them.
_DENIES = (
    r"rul(?:es|ed)(?: [\w-]+){0,4} out", r"excluded", r"excludes", r"exclusion of", r"unlikely", r"improbable",
    r"impossible", r"resolved", r"(?:resolution|disappearance|clearance|removal) of", r"disappeared", r"vanished",
    r"gone", r"cleared", r"removed", r"denie[sd]", r"deny", r"refute[sd]?", r"dismissed", r"rejected", r"discounted",
    r"negate[sd]?", r"against", r"inconsistent", r"incompatible", r"negative", r"neg", r"absent", r"absence", r"none",
    r"never", r"cannot", r"false", r"untrue", r"incorrect", r"wrong", r"missing", r"nothing", r"nowhere", r"zero",
    r"nil", r"invisible", r"un(?:seen|detected|identified|demonstrated)", r"non ?existent", r"free$", r"lacking$",
)  # fmt: skip
# Words and phrases that deny what follows them, up to the end of "a, b or c".
_DENIES_NEXT = (
    r"no", r"nope", r"nah", r"yes", r"yeah", r"yep", r"yup", r"not", r"[a-z]+n't", r"without", r"w/o", r"sans", r"nor",
    r"(?:is|are|was|were|do|does|did|has|have|had|ca|could|would|should|wo)nt", r"neg(?:ative|\.)? for", r"neither",
    r"absence of", r"lack(?:s|ed|ing)?(?: of)?", r"(?:free|clear|devoid|void|empty) (?:of|from)", r"freedom from",
    r"unable to", r"fail(?:s|ed|ing|ure)? to", r"nothing to suggest",
)  # fmt: skip
DENIAL = re.compile(
    rf"(?<![\w'])(?:(?P<next>{'|'.join(sorted(_DENIES_NEXT, key=len, reverse=True))})|(?P<whole>{'|'.join(_DENIES)}))"
    r"(?![\w'])"
)
# Words that name what is not meant: "left instead of right".
AGAINST = re.compile(r"\b(?:rather than|instead of|as opposed to|in place of|other than|except(?: for)?|unlike)\b")
VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|isn't|aren't|shows?|showed|showing|demonstrates?|demonstrated|reveals?|revealed"
    r"|contains?|appears?|looks?|remains?|persists?|exists?|seen|noted|present|identified|visible|found|observed"
    r"|detected|visuali[sz]ed|evident|absent|excluded|ruled|resolved|gone|denies|denied)\b"
)


def is_plain(word: str) -> bool:
    """Whether a word can stand in a statement that affirms a finding, without turning its meaning."""
    return _among(word, _PLAIN)


def is_plain_denied(word: str) -> bool:
    """Whether a word can stand with what is denied, without making it a denial of a part or a kind."""
    return _among(word, _PLAIN_DENIED)


def is_plain_before_denial(word: str) -> bool:
    """Whether a word can stand before a denial of what follows ("the lungs are clear without …")."""
    return _among(word, _BEFORE_DENIAL)


def is_frame(word: str) -> bool:
    """Whether a word names no thing of its own ("evidence", "seen", "radiograph")."""
    return _among(word, _FRAME_DENIED)


def is_finding(word: str) -> bool:
    """Whether a word names something that is found in a picture, or its size."""
    return _among(word, _FINDINGS | _DEGREES)


def singular(word: str) -> str:
    """The word without its plural ending.

    >>> singular("masses"), singular("mass"), singular("opacities"), singular("effusions"), singular("gas")
    ('mass', 'mass', 'opacity', 'effusion', 'gas')
    """
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith("sses"):
        return word[:-2]
    return word if len(word) < 4 or word.endswith(("ss", "us", "is")) else word.removesuffix("s")


def _among(word: str, words: frozenset[str]) -> bool:
    return word in words or singular(word) in words or (word[0].isdigit() and word != "0")
