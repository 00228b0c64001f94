//! `P4Data`, and the leaf values that registers and digests are made of.
//!
//! In: a type from P4Info with either form. Out: the other; `None` if they do not fit each other. Leaves stand in
//! declaration order; `bool` is one bit, an `error` or an `enum` without representation has no numbers on the wire and is
//! not converted.

use info::p4_data_type_spec::TypeSpec;
use p4runtime::value::canonical;
use p4runtime_proto::p4::config::v1 as info;
use p4runtime_proto::p4::v1 as pb;
use pb::p4_data::Data;

/// The leaves of a value.
pub(super) fn leaves(
    spec: &info::P4DataTypeSpec,
    types: Option<&info::P4TypeInfo>,
    data: &pb::P4Data,
) -> Option<Vec<Vec<u8>>> {
    let mut leaves = Vec::new();
    Shape { types }.take_apart(spec.type_spec.as_ref()?, data, &mut leaves)?;
    Some(leaves)
}

/// A value of leaves.
pub(super) fn build(
    spec: &info::P4DataTypeSpec,
    types: Option<&info::P4TypeInfo>,
    leaves: &[Vec<u8>],
) -> Option<pb::P4Data> {
    let mut leaves = leaves.iter();
    let data = Shape { types }.put_together(spec.type_spec.as_ref()?, &mut leaves)?;
    leaves.next().is_none().then_some(data)
}

#[derive(Clone, Copy)]
struct Shape<'a> {
    types: Option<&'a info::P4TypeInfo>,
}

impl<'a> Shape<'a> {
    /// The types of a struct's members.
    fn members(self, name: &info::P4NamedType) -> Option<Vec<&'a TypeSpec>> {
        let spec = self.types?.structs.get(&name.name)?;
        spec.members
            .iter()
            .map(|member| member.type_spec.as_ref()?.type_spec.as_ref())
            .collect()
    }

    /// The number of a header's fields.
    fn header_len(self, name: &info::P4NamedType) -> Option<usize> {
        Some(self.types?.headers.get(&name.name)?.members.len())
    }

    /// What stands behind a `type` name.
    fn original(self, name: &info::P4NamedType) -> Option<Option<&'a TypeSpec>> {
        use info::p4_new_type_spec::Representation;
        match self
            .types?
            .new_types
            .get(&name.name)?
            .representation
            .as_ref()?
        {
            Representation::OriginalType(spec) => Some(spec.type_spec.as_ref()),
            Representation::TranslatedType(_) => Some(None),
        }
    }

    fn take_apart(
        self,
        spec: &TypeSpec,
        data: &pb::P4Data,
        leaves: &mut Vec<Vec<u8>>,
    ) -> Option<()> {
        match (spec, data.data.as_ref()?) {
            (TypeSpec::Bitstring(_), Data::Bitstring(value)) => leaves.push(value.clone()),
            (TypeSpec::SerializableEnum(_), Data::EnumValue(value)) => leaves.push(value.clone()),
            (TypeSpec::Bool(_), Data::Bool(value)) => leaves.push(vec![u8::from(*value)]),
            (TypeSpec::Struct(name), Data::Struct(value)) => {
                let members = self.members(name)?;
                self.take_all(members.into_iter(), &value.members, leaves)?;
            }
            (TypeSpec::Tuple(tuple), Data::Tuple(value)) => {
                let members: Option<Vec<_>> =
                    tuple.members.iter().map(|m| m.type_spec.as_ref()).collect();
                self.take_all(members?.into_iter(), &value.members, leaves)?;
            }
            (TypeSpec::Header(name), Data::Header(value))
                if value.bitstrings.len() == self.header_len(name)? =>
            {
                leaves.extend(value.bitstrings.iter().cloned());
            }
            (TypeSpec::NewType(name), _) => match self.original(name)? {
                Some(original) => self.take_apart(original, data, leaves)?,
                None => match data.data.as_ref()? {
                    Data::Bitstring(value) => leaves.push(value.clone()),
                    _ => return None,
                },
            },
            _ => return None,
        }
        Some(())
    }

    fn take_all<'b>(
        self,
        specs: impl ExactSizeIterator<Item = &'b TypeSpec>,
        data: &[pb::P4Data],
        leaves: &mut Vec<Vec<u8>>,
    ) -> Option<()> {
        if specs.len() != data.len() {
            return None;
        }
        specs
            .zip(data)
            .try_for_each(|(spec, data)| self.take_apart(spec, data, leaves))
    }

    fn put_together<'l>(
        self,
        spec: &TypeSpec,
        leaves: &mut impl Iterator<Item = &'l Vec<u8>>,
    ) -> Option<pb::P4Data> {
        let data = match spec {
            TypeSpec::Bitstring(_) => Data::Bitstring(canonical(leaves.next()?).to_vec()),
            TypeSpec::SerializableEnum(_) => Data::EnumValue(canonical(leaves.next()?).to_vec()),
            TypeSpec::Bool(_) => Data::Bool(leaves.next()?.iter().any(|&byte| byte != 0)),
            TypeSpec::Struct(name) => {
                let members = self
                    .members(name)?
                    .into_iter()
                    .map(|spec| self.put_together(spec, &mut *leaves));
                Data::Struct(pb::P4StructLike {
                    members: members.collect::<Option<_>>()?,
                })
            }
            TypeSpec::Tuple(tuple) => {
                let member = |m: &info::P4DataTypeSpec| {
                    self.put_together(m.type_spec.as_ref()?, &mut *leaves)
                };
                Data::Tuple(pb::P4StructLike {
                    members: tuple.members.iter().map(member).collect::<Option<_>>()?,
                })
            }
            TypeSpec::Header(name) => {
                let fields =
                    (0..self.header_len(name)?).map(|_| Some(canonical(leaves.next()?).to_vec()));
                Data::Header(pb::P4Header {
                    is_valid: true,
                    bitstrings: fields.collect::<Option<_>>()?,
                })
            }
            TypeSpec::NewType(name) => match self.original(name)? {
                Some(original) => return self.put_together(original, leaves),
                None => Data::Bitstring(canonical(leaves.next()?).to_vec()),
            },
            TypeSpec::HeaderUnion(_)
            | TypeSpec::HeaderStack(_)
            | TypeSpec::HeaderUnionStack(_)
            | TypeSpec::Enum(_)
            | TypeSpec::Error(_) => return None,
        };
        Some(pb::P4Data { data: Some(data) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits() -> info::P4DataTypeSpec {
        info::P4DataTypeSpec {
            type_spec: Some(TypeSpec::Bitstring(Default::default())),
        }
    }

    fn pair() -> (info::P4DataTypeSpec, info::P4TypeInfo) {
        let member = |name: &str, type_spec| info::p4_struct_type_spec::Member {
            name: name.into(),
            type_spec,
        };
        let flag = info::P4DataTypeSpec {
            type_spec: Some(TypeSpec::Bool(info::P4BoolType {})),
        };
        let spec = info::P4StructTypeSpec {
            members: vec![member("a", Some(bits())), member("b", Some(flag))],
            ..Default::default()
        };
        let mut types = info::P4TypeInfo::default();
        types.structs.insert("pair".into(), spec);
        let named = info::P4NamedType {
            name: "pair".into(),
        };
        (
            info::P4DataTypeSpec {
                type_spec: Some(TypeSpec::Struct(named)),
            },
            types,
        )
    }

    #[test]
    fn a_struct_is_its_members_in_order() {
        let (spec, types) = pair();
        let data = build(&spec, Some(&types), &[vec![0, 7], vec![1]]).unwrap();
        assert_eq!(
            leaves(&spec, Some(&types), &data).unwrap(),
            [vec![7], vec![1]]
        );
    }

    #[test]
    fn what_has_another_shape_is_refused() {
        let (spec, types) = pair();
        assert!(build(&spec, Some(&types), &[vec![7]]).is_none());
        assert!(build(&bits(), None, &[vec![7], vec![7]]).is_none());
        assert!(build(&spec, None, &[vec![7], vec![1]]).is_none());
        let flag = pb::P4Data {
            data: Some(Data::Bool(true)),
        };
        assert!(leaves(&bits(), None, &flag).is_none());
        assert!(leaves(&bits(), None, &pb::P4Data::default()).is_none());
    }
}
