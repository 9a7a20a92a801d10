"""Registration before scoring: undo a small shift, turn or change of scale between two images, where there clearly is
one.

    from scoring.registration import align

    alignment = align(reference, distorted)            # PIL images or uint8 arrays (H, W, 3) of one size
    print(alignment)                                   # distorted is shifted by -3.00, 0.00 px, scaled by ...
    score(alignment.reference, alignment.distorted)    # the images as given, where nothing was done

The map takes a pixel of the reference, counted from the centre of its first pixel, to where it is seen in the
distorted image: a similarity, [[s cos a, -s sin a], [s sin a, s cos a]], and a shift; s may differ a little between
the sides, for a resize rounds each to whole pixels.

How it is estimated: both images become locally normalised luma (without that, a loss of contrast looks like motion).
The correlation of the two is maximised over the map's two (shift), four (similarity) or five (its sides apart)
parameters by Gauss-Newton steps, inverse compositional (Baker and Matthews, Lucas-Kanade 20 years on, IJCV 2004,
section 3.2), with the gain of enhanced correlation coefficients (Evangelidis and Psarakis, TPAMI 2008); the gradients
are the reference's, which carries no damage. From small copies of the images to large ones; once from the identity
and once from the peak of the phase correlation.

How it is decided: of identity, shift, similarity the simplest wins, unless the next one leaves less than RATIO of its
residual, 1 - correlation, and that is no accident of a few places: it is below 1 by LEAST_CERTAINTY of its standard
errors over tiles of the image. And the images must be alike under the map in every part that has texture. A map within
NEAR pixels of a whole-pixel shift at every corner is that shift.

Where it must not be used: to judge an image whose misalignment is the defect to be judged.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from PIL import Image

VERSION = 3  # raised when the same images would be given other maps than before
MODES = {"shift": (2,), "similarity": (2, 4, 5)}  # the parameters of the maps that are tried, from simple to rich
MOTIONS = {"shift": "shift", "similarity": "shift, turn or change of scale"}
RATIO = 0.985  # a richer map must bring the residual below this part of the simpler one's
LEAST_CERTAINTY = 2.33  # standard errors by which it must do so: one chance in a hundred
NEAR = 0.2  # pixels: a map so near a whole-pixel shift at every corner is that shift
LEAST_SIDE = 64  # pixels: below, there is too little to go by
LEAST_AREA = 0.5  # of the image must be left
LEAST_LIKENESS = 0.4  # correlation of two images that show the same thing, once aligned: see Level.likeness
LEAST_COMMON = 0.36  # what they have in common, there
MOST_SCALE = 0.06  # a scale is between 1 / (1 + this) and 1 + this
MOST_ANGLE = 6.0  # degrees
MOST_CORNER = 0.08  # of the longer side: how far a corner may move
BORDER = 8  # pixels left out at the edges when images are compared: filters and warps are not to be trusted there
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
IDENTITY = np.eye(2, 3)


@dataclass(frozen=True)
class Registration:
    """What was found of a pair of images, without the images: the map, and whether it is to be undone."""

    map: np.ndarray  # (2, 3) float64: pixel of the reference -> pixel of the distorted image; the identity unless done
    width: int  # of the two images as given, in pixels
    height: int
    ratio: float  # what is left of the residual 1 - correlation: under the map if done, else under the best tried
    done: bool
    why: str  # why nothing is to be done; "" if done

    @property
    def centre(self):
        """Where the middle of the reference is seen, minus that middle."""
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2, 1])
        return self.map @ middle - middle[:2]

    @property
    def dx(self):
        """Pixels by which the distorted image's centre is shifted to the right."""
        return float(self.centre[0])

    @property
    def dy(self):
        """Pixels by which the distorted image's centre is shifted down."""
        return float(self.centre[1])

    @property
    def scale(self):
        """Size of what the distorted image shows, over its size in the reference."""
        return float(np.sqrt(np.linalg.det(self.map[:, :2])))

    @property
    def angle(self):
        """Degrees by which the distorted image is turned clockwise."""
        return turn(self.map)

    @property
    def corner(self):
        """How far the map moves the corner that it moves most, in pixels."""
        return farthest(self.map, IDENTITY, self.width, self.height)

    @property
    def whole(self):
        """Whether the map is a shift by whole pixels."""
        return np.array_equal(self.map[:, :2], np.eye(2)) and np.array_equal(self.map, self.map.round())

    @cached_property
    def box(self):
        """What of the distorted image both images cover: the largest rectangle, (left, top, right, bottom)."""
        if not self.whole:
            return covered(inverse(self.map), self.width, self.height)
        dx, dy = self.map[:, 2].astype(int)
        left, top = int(max(0, dx)), int(max(0, dy))
        return left, top, left + self.width - abs(int(dx)), top + self.height - abs(int(dy))

    @property
    def reference_box(self):
        """What of the reference is seen there, where the map is a shift by whole pixels; elsewhere it is resampled onto
        the distorted image's grid, and the box is the same."""
        left, top, right, bottom = self.box
        dx, dy = self.map[:, 2].astype(int) if self.whole else (0, 0)
        return left - dx, top - dy, right - dx, bottom - dy

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the two images after `apply`."""
        left, top, right, bottom = self.box if self.done else (0, 0, self.width, self.height)
        return right - left, bottom - top

    @property
    def document(self):
        """Its numbers by name: dx, dy, scale, angle, corner, ratio, done, why."""
        return {name: getattr(self, name) for name in ("dx", "dy", "scale", "angle", "corner", "ratio", "done", "why")}

    def apply(self, reference, distorted):
        """PIL images -> (reference, distorted), aligned; the very objects given unless done."""
        if not self.done:
            return reference, distorted
        if not self.whole:
            reference = resampled(reference, inverse(self.map))
        return reference.crop(self.reference_box), distorted.crop(self.box)

    def __str__(self):
        if not self.done:
            return f"not moved: {self.why}"
        return (
            f"distorted is shifted by {self.dx:z.2f}, {self.dy:z.2f} px, scaled by {self.scale:.4f}, "
            f"turned by {self.angle:z.2f} degrees"
        )


@dataclass(frozen=True)
class Alignment(Registration):
    """A Registration, and the two images with it undone."""

    # both of one size, in the kind that was given; the very objects given unless done
    reference: Image.Image | np.ndarray
    distorted: Image.Image | np.ndarray


def align(
    reference: Image.Image | np.ndarray, distorted: Image.Image | np.ndarray, mode: str = "similarity"
) -> Alignment:
    """Estimate the map from the reference to the distorted image, decide, and undo it -> Alignment.

    reference, distorted: 8-bit RGB PIL images or uint8 arrays (H, W, 3) of one size. mode: "shift" or "similarity".
    A whole-pixel shift is undone by cropping both. For any other map the reference is resampled onto the distorted
    image's grid, so that the damage to be judged is not smoothed; both are cut to the largest rectangle that both
    cover. Raises ValueError for another mode or images of different sizes; never for what the images show.
    """
    registration = register(reference, distorted, mode)
    known = {field.name: getattr(registration, field.name) for field in fields(registration)}
    if not registration.done:
        return Alignment(**known, reference=reference, distorted=distorted)
    images = [i if isinstance(i, Image.Image) else Image.fromarray(i) for i in (reference, distorted)]
    images = registration.apply(*images)
    if not isinstance(reference, Image.Image):
        images = map(np.asarray, images)
    return Alignment(**known, **dict(zip(("reference", "distorted"), images)))


def register(reference, distorted, mode="similarity"):
    """As `align`, without undoing anything -> Registration."""
    if mode not in MODES:
        raise ValueError(f"align: expected a mode among {', '.join(MODES)}, found {mode!r}")
    reference, distorted = np.asarray(reference), np.asarray(distorted)
    for image in (reference, distorted):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"align: expected 8-bit RGB images (H, W, 3), found {image.dtype} {image.shape}")
    if reference.shape != distorted.shape:
        raise ValueError(
            f"align: expected images of one size, found {reference.shape[:2]} and {distorted.shape[:2]} (H, W)"
        )
    height, width, _ = reference.shape
    best, ratio, why = estimate(reference, distorted, mode)
    registration = Registration(best, width, height, ratio, not why, why)
    if registration.done and registration.size[0] * registration.size[1] < LEAST_AREA * width * height:
        return replace(registration, map=IDENTITY, done=False, why="less than half of the image would be left")
    return registration


def resampled(image, back):
    """A PIL image at back(p) for every pixel p, by cubic splines (Unser, Splines, IEEE Signal Processing Magazine
    16(6), 1999). docs/align.md has what they were compared with."""
    from scipy.ndimage import affine_transform

    pixels = np.asarray(image, np.float32)
    rows_first = back[::-1, [1, 0, 2]]  # scipy counts (row, column)
    planes = [
        affine_transform(pixels[..., c], rows_first[:, :2], rows_first[:, 2], order=3, mode="nearest") for c in range(3)
    ]
    return Image.fromarray(np.stack(planes, -1).round().clip(0, 255).astype(np.uint8))


def covered(back, width, height):
    """The largest rectangle of pixels p with back(p) inside the image -> (left, top, right, bottom), as Pillow crops.

    The area is convex: a rectangle is in it when its first and its last row are.
    """
    inside = within(back, width, height, 0)
    rows = inside.any(1)
    left = np.where(rows, inside.argmax(1), width)
    right = np.where(rows, width - inside[:, ::-1].argmax(1), 0)
    top, bottom = np.ogrid[:height, :height]
    wide = np.minimum(right[top], right[bottom]) - np.maximum(left[top], left[bottom])
    tall = bottom - top + 1
    area = np.where((wide > 0) & (tall > 0), wide * tall, 0)
    first, last = np.unravel_index(area.argmax(), area.shape)
    return int(max(left[first], left[last])), int(first), int(min(right[first], right[last])), int(last) + 1


def estimate(reference, distorted, mode):
    """uint8 arrays (H, W, 3) -> (map, ratio, why): the map to undo, or why there is none to undo."""
    height, width, _ = reference.shape
    if min(height, width) < LEAST_SIDE:
        return IDENTITY, 1.0, f"a side is below {LEAST_SIDE} pixels"
    if np.array_equal(reference, distorted):
        return IDENTITY, 1.0, "the images are equal"
    levels = pyramid(luma(reference), luma(distorted))
    best, ratio, lowest = IDENTITY, 1.0, 1.0
    starts = [IDENTITY, *phase_shift(levels[0])]
    for parameters in MODES[mode]:
        maps = [candidate for start in starts for candidate in track(levels, start, parameters)]
        maps = [candidate for candidate in maps if plausible(candidate, width, height)]
        compared = [(*levels[0].compare(candidate, best), candidate) for candidate in maps]
        for part, certainty, candidate in sorted(compared, key=lambda c: c[0])[:1]:
            lowest = min(lowest, part * ratio)
            if part < RATIO and certainty > LEAST_CERTAINTY:
                best, ratio = candidate, part * ratio
        starts = [best] if parameters == 4 else [IDENTITY, best] if best is not IDENTITY else [IDENTITY]
    if best is IDENTITY:
        return IDENTITY, lowest, f"no {MOTIONS[mode]} makes the images clearly more alike"
    alike, common = levels[0].likeness(best)
    if alike < LEAST_LIKENESS or common < LEAST_COMMON:
        return IDENTITY, ratio, "the images are not alike enough"
    whole = np.column_stack([np.eye(2), best[:, 2].round()])
    if farthest(best, whole, width, height) <= NEAR:
        best = whole
    if np.array_equal(best, IDENTITY):
        return IDENTITY, ratio, f"no corner moves by more than {NEAR} pixels"
    return best, ratio, ""


def plausible(matrix, width, height):
    scales = np.hypot(*matrix[:, :2])  # of the two sides
    return (
        scales.max() <= 1 + MOST_SCALE
        and scales.min() >= 1 / (1 + MOST_SCALE)
        and abs(turn(matrix)) <= MOST_ANGLE
        and farthest(matrix, IDENTITY, width, height) <= MOST_CORNER * max(width, height)
    )


def turn(matrix):
    """Degrees clockwise."""
    return float(np.degrees(np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])))


def track(levels, start, parameters):
    """The map that the start leads to, from the smallest level to the largest -> [map], or [] where it leads
    nowhere."""
    matrix = start
    for number in reversed(range(len(levels))):
        matrix = levels[number].climb(resized(matrix, 0.5**number), parameters, enough=0.002 if number == 0 else 0.02)
        if matrix is None:
            return []
        matrix = resized(matrix, 2.0**number)
    return [matrix]


def phase_shift(level):
    """The shift at the peak of the phase correlation -> [map], or [] where it is below a pixel or implausible."""
    import cv2

    height, width = level.reference.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    # copies: where a side needs no padding for its transform, OpenCV multiplies the window into what it was given
    (dx, dy), _ = cv2.phaseCorrelate(level.reference.copy(), level.distorted.copy(), window)
    shift = np.array([[1, 0, dx], [0, 1, dy]])
    return [shift] if max(abs(dx), abs(dy)) > 1 and plausible(shift, width, height) else []


def luma(image):
    return image.astype(np.float32) @ LUMA


def normalised(image, blur=1.2, around=7.0, floor=10.0):
    """Blurred, minus its local mean, over its local standard deviation + floor: (H, W) float32, 0 to 255 in."""
    import cv2

    image = cv2.GaussianBlur(image, (0, 0), blur)
    image = image - cv2.GaussianBlur(image, (0, 0), around)
    return image / (np.sqrt(cv2.GaussianBlur(image * image, (0, 0), around)) + floor)


def pyramid(reference, distorted, smallest=64):
    """Two lumas (H, W) -> [Level], each half the size of the one before, as long as the shorter side is not below
    `smallest`."""
    import cv2

    levels = []
    while True:
        levels.append(Level(normalised(reference), normalised(distorted), BORDER if not levels else BORDER // 2))
        height, width = reference.shape
        if min(height, width) < 2 * smallest:
            return levels
        reference, distorted = (
            cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in (reference, distorted)
        )


class Level:
    """Two normalised lumas (H, W) of one size, to be brought onto each other."""

    def __init__(self, reference, distorted, border):
        import cv2

        self.reference, self.distorted, self.border = reference, distorted, border
        self.height, self.width = reference.shape
        along_x, along_y = (cv2.Scharr(reference, cv2.CV_32F, *which) / 32 for which in ((1, 0), (0, 1)))
        self.middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        self.radius = max(self.middle)  # all parameters are then in pixels, the last three at the middle of a side
        x = (np.arange(self.width, dtype=np.float32) - self.middle[0]) / self.radius
        y = (np.arange(self.height, dtype=np.float32)[:, None] - self.middle[1]) / self.radius
        # (5, H W): what a pixel of the reference changes by for a step of the five parameters
        x_on_x, y_on_y = along_x * x, along_y * y
        self.slopes = np.stack([along_x, along_y, x_on_x + y_on_y, along_y * x - along_x * y, x_on_x - y_on_y]).reshape(
            5, -1
        )

    def step(self, dx, dy, scale, angle, stretch):
        """The map of five small parameters."""
        matrix = np.eye(2) + np.array([[scale + stretch, -angle], [angle, scale - stretch]]) / self.radius
        return np.column_stack([matrix, self.middle - matrix @ self.middle + (dx, dy)])

    def inside(self, matrix):
        return within(matrix, self.width, self.height, self.border)

    def climb(self, matrix, parameters, steps=30, enough=0.002):
        """Gauss-Newton from a map, until a step is below `enough` pixels -> map; None where the images have nothing
        in common."""
        import cv2

        for _ in range(steps):
            inside = self.inside(matrix)
            count = np.count_nonzero(inside)
            if count < LEAST_AREA * inside.size / 2:
                return None
            weights = inside.astype(np.float32)
            seen = warped(self.distorted, matrix, cv2.INTER_LINEAR)
            seen = (seen - (seen * weights).sum() / count) * weights
            reference = (self.reference - (self.reference * weights).sum() / count) * weights
            likeness = product(reference.ravel(), seen.ravel())
            if likeness <= 0:
                return None
            error = (likeness / product(seen.ravel(), seen.ravel()) * seen - reference).ravel()
            slopes = self.slopes[:parameters]
            hessian = cv2.mulTransposed(slopes * weights.ravel(), False, dtype=cv2.CV_64F)
            if np.linalg.cond(hessian) > 1e6:
                return None  # edges in one direction only, or none
            change = np.zeros(5)
            change[:parameters] = np.linalg.solve(hessian, product(slopes, error))
            matrix = compose(matrix, inverse(self.step(*change)))
            if np.abs(change).max() < enough:
                break
        return matrix

    def compare(self, matrix, simpler, side=16):
        """-> (residual of the one map over that of the other, by how many standard errors that is below 1), on the area
        that both leave; (1, 0) where that is too small.

        The residual, 1 - correlation, is half a sum of squares over pixels, thus over tiles of side x side pixels. The
        ratio of two such sums has the standard error of a ratio estimate (Cochran, Sampling Techniques, 3rd edition,
        1977, chapter 6): noise, which a map fits better in some tiles and worse in others, is kept apart from a motion,
        which all of them share."""
        import cv2

        inside = self.inside(matrix) & self.inside(simpler)
        if np.count_nonzero(inside) < LEAST_AREA * inside.size / 2:
            return 1.0, 0.0
        reference, residuals = unit(self.reference[inside]), []
        for m in (matrix, simpler):
            squares = np.zeros(inside.shape)
            squares[inside] = (reference - unit(warped(self.distorted, m, cv2.INTER_CUBIC)[inside])) ** 2
            rows = np.add.reduceat(squares, range(0, self.height, side), axis=0)
            residuals.append(np.add.reduceat(rows, range(0, self.width, side), axis=1) / 2)
        one, other = residuals
        part = one.sum() / max(other.sum(), 1e-9)
        error = np.sqrt(np.square(one - part * other).sum())  # times the sum of the other, as the next line
        return part, (1 - part) * other.sum() / max(error, 1e-9)

    def likeness(self, matrix, side=16):
        """How alike the images are under a map, everywhere, by tiles of side x side pixels -> (correlation, common).

        correlation: what nine tenths of the reference's texture, tile by tile, are at least correlated with the other
        image. (Of one thing seen twice every strong tile agrees; of two things that were made to overlap as well as
        they can, some do.) common: the median over all tiles, the weak ones too, of the product of the two over the
        smaller of their energies. It is near 1 where one image is the other plus noise, or less its detail, and near 0
        where each has its own, as in the sky beside a tower that is its own mirror image."""
        import cv2

        inside = self.tiles(self.inside(matrix), side)
        kept = inside.mean(1) >= 0.5
        inside, images = inside[kept], []
        for image in (self.reference, warped(self.distorted, matrix, cv2.INTER_CUBIC)):
            tiles = self.tiles(image, side)[kept]
            means = (tiles * inside).sum(1, keepdims=True) / inside.sum(1, keepdims=True)
            images.append((tiles - means) * inside)
        reference, seen = images
        energy, other, product = (
            (a * b).sum(1, dtype=np.float64) for a, b in ((reference, reference), (seen, seen), (reference, seen))
        )
        alike = product / np.sqrt(np.maximum(energy * other, 1e-12))
        order = np.argsort(alike)
        tenth = np.searchsorted(np.cumsum(energy[order]), energy.sum() / 10)
        return alike[order][tenth], np.median(product / np.maximum(np.minimum(energy, other), 1e-6))

    def tiles(self, image, side):
        """(H, W) -> (tiles, side^2); rows and columns that fill no tile are left out."""
        down, across = self.height // side, self.width // side
        cut = image[: down * side, : across * side].reshape(down, side, across, side)
        return cut.swapaxes(1, 2).reshape(down * across, side * side)


def unit(values):
    """Minus their mean, over the root of their sum of squares: what is left of two, 1 - correlation, is half the sum of
    squares of their difference."""
    values = values - values.mean(dtype=np.float64)
    return values / np.sqrt(max(product(values, values), 1e-12))


def product(a, b):
    """Inner product over the last axis. Not by BLAS, whose threads wait for each other where processes run side by
    side: with two threads on two busy cores the registration of a pair took four times as long."""
    return (a * b).sum(-1, dtype=np.float64)


def warped(image, matrix, how):
    """(H, W) float32: the image at matrix(p) for every pixel p."""
    import cv2

    height, width = image.shape
    return cv2.warpAffine(
        image, matrix, (width, height), flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )


def within(matrix, width, height, border):
    """(H, W) bool: the pixels p at least `border` from the edges with matrix(p) as far from them, too."""
    x, y = np.arange(width), np.arange(height)[:, None]
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    near = border - 1e-6  # rounding may take the edge itself outside
    inside = (u >= near) & (u <= width - 1 - near) & (v >= near) & (v <= height - 1 - near)
    return inside & (x >= border) & (x < width - border) & (y >= border) & (y < height - border)


def farthest(matrix, other, width, height):
    """The largest distance between where two maps take a corner, in pixels."""
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    return float(np.hypot(*((matrix - other) @ corners)).max())


def compose(outer, inner):
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def inverse(matrix):
    turned = np.linalg.inv(matrix[:, :2])
    return np.column_stack([turned, -turned @ matrix[:, 2]])


def shifted(after, matrix, before):
    """The map with `before` added to its coordinates first and `after` last."""
    return np.column_stack([matrix[:, :2], matrix[:, :2] @ (before, before) + matrix[:, 2] + after])


def resized(matrix, factor):
    """The same map between images `factor` times as large (pixel centres stay centres: x becomes (x + 0.5) factor -
    0.5)."""
    return shifted(-0.5, np.column_stack([matrix[:, :2], shifted(0.5, matrix, -0.5)[:, 2] * factor]), 0.5)
