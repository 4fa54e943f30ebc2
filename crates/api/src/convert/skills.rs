//! Skills.

use stigmer_core::skill::{AddedSkill, Skill, SkillChange};

use super::bytes::{bytes, field, list};
use super::{Fault, known, pairs, required};
use crate::wire;

pairs! {
    SkillChange = wire::SkillChange { Added Replaced Unchanged }
}

impl From<Skill> for wire::Skill {
    fn from(skill: Skill) -> Self {
        let Skill { name, description, path, digest, files, bytes, problem } = skill;
        Self { name, description, path: field(path), digest, files, bytes, problem }
    }
}
impl From<wire::Skill> for Skill {
    fn from(skill: wire::Skill) -> Self {
        let path = bytes(skill.path);
        let wire::Skill { name, description, digest, files, bytes, problem, .. } = skill;
        Self { name, description, path, digest, files, bytes, problem }
    }
}

/// All skills.
impl From<Vec<Skill>> for wire::SkillList {
    fn from(all: Vec<Skill>) -> Self {
        Self { skills: list(all) }
    }
}
impl From<wire::SkillList> for Vec<Skill> {
    fn from(reply: wire::SkillList) -> Self {
        list(reply.skills)
    }
}

impl From<AddedSkill> for wire::AddedSkill {
    fn from(reply: AddedSkill) -> Self {
        let change = wire::SkillChange::from(reply.change).into();
        Self { skill: Some(reply.skill.into()), change }
    }
}
impl TryFrom<wire::AddedSkill> for AddedSkill {
    type Error = Fault;
    fn try_from(reply: wire::AddedSkill) -> Result<Self, Fault> {
        let change = known::<wire::SkillChange, _>("change", reply.change)?;
        Ok(Self { skill: required("skill", reply.skill)?, change })
    }
}
