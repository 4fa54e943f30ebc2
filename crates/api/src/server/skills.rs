//! Skills of a workspace.

use stigmer_core::skill::AddedSkill;
use tonic::{Request, Streaming};

use super::context::Asked;
use super::transfers::{Message, Part, begun};
use super::{Answer, Api};
use crate::wire;
use crate::wire::skills_server::Skills;

#[tonic::async_trait]
impl Skills for Api {
    async fn add(
        &self,
        request: Request<Streaming<wire::AddSkillRequest>>,
    ) -> Answer<wire::AddedSkill> {
        let (asked, input) = Asked::take(request);
        let added = async {
            let (begin, content) = begun(input).await?;
            let added: AddedSkill =
                self.provider.add_skill(&begin.workspace, content, &asked.context).await?;
            Ok(added.into())
        };
        asked.answer(added.await)
    }

    async fn list(&self, request: Request<wire::ListSkillsRequest>) -> Answer<wire::SkillList> {
        let (asked, message) = Asked::take(request);
        let skills = self.provider.skills(&message.workspace, &asked.context).await;
        asked.answer(skills.map(Into::into))
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveSkillRequest>,
    ) -> Answer<wire::RemoveSkillResponse> {
        let (asked, message) = Asked::take(request);
        let wire::RemoveSkillRequest { workspace, name } = message;
        let removed = self.provider.remove_skill(&workspace, &name, &asked.context).await;
        asked.answer(
            removed.map(|was_there| wire::RemoveSkillResponse { was_already_removed: !was_there }),
        )
    }
}

impl Message for wire::AddSkillRequest {
    type Begin = wire::AddSkillBegin;

    fn part(self) -> Option<Part<wire::AddSkillBegin>> {
        Some(match self.part? {
            wire::add_skill_request::Part::Begin(begin) => Part::Begin(begin),
            wire::add_skill_request::Part::Data(data) => Part::Data(data),
            wire::add_skill_request::Part::Finish(_) => Part::Finish,
        })
    }
}
