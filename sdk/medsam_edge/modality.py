"""The eleven imaging modalities and their common names."""

from __future__ import annotations

from enum import Enum

from medsam_edge.errors import ModalityError


class Modality(str, Enum):
    """How an image was acquired. It selects the intensity rule and, in models with class prompts, the class."""

    CT = "CT"
    MR = "MR"
    PET = "PET"
    US = "US"
    XRAY = "XRay"
    DERMOSCOPY = "Dermoscopy"
    ENDOSCOPY = "Endoscopy"
    FUNDUS = "Fundus"
    MICROSCOPY = "Microscopy"
    OCT = "OCT"
    MAMMOGRAPHY = "Mammography"

    def __str__(self) -> str:
        return self.value

    @property
    def is_color(self) -> bool:
        """Whether images of this modality usually have three colour channels."""
        return self in _COLOR

    @classmethod
    def parse(cls, name: str | Modality | None) -> Modality | None:
        """Return the modality of a name; only letters and digits count, in any case. None gives None.

        Raises:
            ModalityError: the name is neither one of the eleven nor a known alias.
        """
        if name is None or isinstance(name, Modality):
            return name
        found = _BY_NAME.get(_key(name)) if isinstance(name, str) else None
        if found is None:
            raise ModalityError(f"modality: expected one of {', '.join(m.value for m in cls)} or None, got {name!r}")
        return found


_COLOR = frozenset({Modality.DERMOSCOPY, Modality.ENDOSCOPY, Modality.FUNDUS, Modality.MICROSCOPY})


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_OTHERS = {
    Modality.CT: "ctscan computedtomography cta cbct ldct hrct ncct",
    Modality.MR: "mrscan mrt nmr magneticresonance magneticresonanceimaging mra cmr fmri t1 t2 t1w t2w t1ce "
    "flair dwi swi",
    Modality.PET: "petscan positronemissiontomography fdgpet nm",
    Modality.US: "usg sono sonogram ultrasonography ultrasoundimaging echo echocardiography ivus bus",
    Modality.XRAY: "cxr chestxray xr xrays xrayimage radiograph radiogram plainfilm dr dxr rf rg xa io px panoramic "
    "fluoroscopy angiography roentgen",
    Modality.DERMOSCOPY: "dermatoscopy dermoscopic dermatoscopic dermoscope dermatoscope dms skinlesion",
    Modality.ENDOSCOPY: "endoscope endoscopic gastroscopy laparoscopy bronchoscopy cystoscopy arthroscopy ves wce "
    "capsuleendoscopy",
    Modality.FUNDUS: "cfp fundusphotography fundusphoto colorfundus colourfundus retinal retinography ophthalmoscopy",
    Modality.MICROSCOPY: "wsi wholeslide wholeslideimage wholeslideimaging he hande histopathology histopathological "
    "histologic cytology microscopic lightmicroscopy fluorescence fluorescencemicroscopy electronmicroscopy ihc gm",
    Modality.OCT: "opticalcoherencetomography octa octb bscan",
    Modality.MAMMOGRAPHY: "mammogram mammograph mammographic mmg ffdm dbt tomosynthesis",
}
"""Further names that people use, in letters and digits alone."""
_ALIASES = {name: modality for modality, names in _OTHERS.items() for name in names.split()} | {
    "mri": Modality.MR,
    "ultrasound": Modality.US,
    "sonography": Modality.US,
    "cr": Modality.XRAY,
    "dx": Modality.XRAY,
    "radiography": Modality.XRAY,
    "pt": Modality.PET,
    "mammo": Modality.MAMMOGRAPHY,
    "mg": Modality.MAMMOGRAPHY,
    "microscope": Modality.MICROSCOPY,
    "histology": Modality.MICROSCOPY,
    "pathology": Modality.MICROSCOPY,
    "sm": Modality.MICROSCOPY,
    "dermatology": Modality.DERMOSCOPY,
    "skin": Modality.DERMOSCOPY,
    "colonoscopy": Modality.ENDOSCOPY,
    "es": Modality.ENDOSCOPY,
    "op": Modality.FUNDUS,
    "retina": Modality.FUNDUS,
    "opt": Modality.OCT,
}
_BY_NAME = {_key(modality.value): modality for modality in Modality} | _ALIASES
