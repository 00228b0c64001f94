//! Arithmetic on constants.
//!
//! In: operands of one type. Out: the folded value, or why there is none. Invariant: results lie in the range of their
//! type; `int` is unbounded but for a limit on its length.

use num_bigint::{BigInt, Sign};
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::ty::Ty;
use crate::ir::{BinaryOp, Const, UnaryOp};

/// The longest arbitrary-precision integer, in bits.
const MAX_BITS: u64 = 1 << 16;

/// Why an operation on constants has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undefined {
    ByZero,
    Negative,
    Shift,
    TooLong,
}

/// The value modulo 2^width, as two's complement if signed.
pub(super) fn wrap(value: &BigInt, width: u32, signed: bool) -> BigInt {
    if width == 0 {
        return BigInt::zero();
    }
    let modulus = BigInt::one() << width;
    let mut reduced = value % &modulus;
    if reduced.is_negative() {
        reduced += &modulus;
    }
    if signed && reduced >= (BigInt::one() << (width - 1)) {
        reduced -= modulus;
    }
    reduced
}

/// The value as an unsigned pattern of `width` bits.
pub(super) fn pattern(value: &BigInt, width: u32) -> BigInt {
    wrap(value, width, false)
}

fn fit(value: BigInt, ty: &Ty) -> Result<Const, Undefined> {
    match ty {
        Ty::Bits { width, signed } => Ok(Const::Int(wrap(&value, *width, *signed))),
        _ if value.bits() > MAX_BITS => Err(Undefined::TooLong),
        _ => Ok(Const::Int(value)),
    }
}

fn clamp(value: BigInt, ty: &Ty) -> Const {
    let Ty::Bits { width, signed } = ty else {
        return Const::Int(value);
    };
    if *width == 0 {
        return Const::Int(BigInt::zero());
    }
    let (low, high) = if *signed {
        let half = BigInt::one() << (width - 1);
        (-half.clone(), half - 1)
    } else {
        (BigInt::zero(), (BigInt::one() << *width) - 1)
    };
    Const::Int(value.clamp(low, high))
}

/// `op value`, where the result has type `ty`.
pub(super) fn unary(op: UnaryOp, value: &Const, ty: &Ty) -> Option<Const> {
    match (op, value) {
        (UnaryOp::Not, Const::Bool(b)) => Some(Const::Bool(!b)),
        (UnaryOp::Neg, Const::Int(n)) => fit(-n, ty).ok(),
        (UnaryOp::BitNot, Const::Int(n)) => fit(-n - 1, ty).ok(),
        _ => None,
    }
}

/// `a op b`; `ty` is the type of the result, `width` that of the right operand in a concatenation. `None` when these
/// operands cannot be folded.
pub(super) fn binary(
    op: BinaryOp,
    a: &Const,
    b: &Const,
    ty: &Ty,
    width: u32,
) -> Option<Result<Const, Undefined>> {
    match (a, b) {
        (Const::Int(x), Const::Int(y)) => Some(integers(op, x, y, ty, width)),
        (Const::Bool(x), Const::Bool(y)) => match op {
            BinaryOp::And => Some(Ok(Const::Bool(*x && *y))),
            BinaryOp::Or => Some(Ok(Const::Bool(*x || *y))),
            BinaryOp::Eq => Some(Ok(Const::Bool(x == y))),
            BinaryOp::Ne => Some(Ok(Const::Bool(x != y))),
            _ => None,
        },
        (Const::String(x), Const::String(y)) if op == BinaryOp::Concat => {
            Some(Ok(Const::String(format!("{x}{y}"))))
        }
        _ => match op {
            BinaryOp::Eq => Some(Ok(Const::Bool(a == b))),
            BinaryOp::Ne => Some(Ok(Const::Bool(a != b))),
            _ => None,
        },
    }
}

fn integers(op: BinaryOp, x: &BigInt, y: &BigInt, ty: &Ty, width: u32) -> Result<Const, Undefined> {
    let compared = match op {
        BinaryOp::Eq => Some(x == y),
        BinaryOp::Ne => Some(x != y),
        BinaryOp::Lt => Some(x < y),
        BinaryOp::Le => Some(x <= y),
        BinaryOp::Gt => Some(x > y),
        BinaryOp::Ge => Some(x >= y),
        _ => None,
    };
    if let Some(result) = compared {
        return Ok(Const::Bool(result));
    }
    let value = match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x * y,
        BinaryOp::Div | BinaryOp::Mod => return divide(op, x, y, ty),
        BinaryOp::SatAdd => return Ok(clamp(x + y, ty)),
        BinaryOp::SatSub => return Ok(clamp(x - y, ty)),
        BinaryOp::Shl | BinaryOp::Shr => shift(op, x, y, ty)?,
        BinaryOp::BitAnd => x & y,
        BinaryOp::BitOr => x | y,
        BinaryOp::BitXor => x ^ y,
        BinaryOp::Concat => (x << width) | pattern(y, width),
        _ => return Err(Undefined::TooLong),
    };
    fit(value, ty)
}

fn divide(op: BinaryOp, x: &BigInt, y: &BigInt, ty: &Ty) -> Result<Const, Undefined> {
    if y.is_zero() {
        return Err(Undefined::ByZero);
    }
    if x.sign() == Sign::Minus || y.sign() == Sign::Minus {
        return Err(Undefined::Negative);
    }
    fit(if op == BinaryOp::Div { x / y } else { x % y }, ty)
}

fn shift(op: BinaryOp, x: &BigInt, y: &BigInt, ty: &Ty) -> Result<BigInt, Undefined> {
    if y.is_negative() {
        return Err(Undefined::Negative);
    }
    let limit = match ty {
        Ty::Bits { width, .. } => u64::from(*width),
        _ => MAX_BITS,
    };
    let by = y.to_u64().unwrap_or(u64::MAX);
    if by > limit {
        let filled = if op == BinaryOp::Shr && x.is_negative() {
            -BigInt::one()
        } else {
            BigInt::zero()
        };
        let bounded = matches!(ty, Ty::Bits { .. }) || op == BinaryOp::Shr;
        return if bounded {
            Ok(filled)
        } else {
            Err(Undefined::Shift)
        };
    }
    Ok(if op == BinaryOp::Shl {
        x << by
    } else {
        x >> by
    })
}
