//! Having what a deployment needs: images, networks, volumes.

use super::super::instance::label;
use super::super::machine::{Step, failed};
use super::super::names;
use super::AgentWorld;
use crate::clock;
use cutover_core::Digest;
use cutover_core::release::SealedService;
use cutover_release::{Done, Instance, Scene, StepError};
use cutover_runtime::net::NetError;
use cutover_runtime::volume::Volume;
use cutover_store::Image;

impl AgentWorld {
    pub(super) fn prepare_image(
        &self,
        scene: &Scene<'_>,
        service: &str,
        digest: &Digest,
    ) -> Step<Done> {
        let image = self.image(scene, service, digest)?;
        let images = self.machine.store.snapshots();
        images.ensure(&image, &mut |_| {}).map_err(failed)?;
        Ok(Done::default())
    }

    pub(super) fn image(&self, scene: &Scene<'_>, service: &str, digest: &Digest) -> Step<Image> {
        match self.machine.store.images().resolve(digest.as_str()).map_err(failed)? {
            Some(image) => Ok(image),
            None => {
                let sealed = new_service(scene, service)?;
                let reference = sealed.image_name.at(digest.clone());
                super::super::pull(&self.machine, &reference).map_err(|error| {
                    failed(error.context(format!(
                        "image {} of service `{service}` is not on this machine",
                        digest.short()
                    )))
                })
            }
        }
    }

    pub(super) fn ensure_network(&self, scene: &Scene<'_>, name: &str) -> Step<Done> {
        let services = scene.to().into_iter().flat_map(|release| release.services.values());
        let mut used = services.flat_map(|sealed| sealed.service.networks.values());
        let wanted = used.find(|used| used.network.name == name).map(|used| &used.network);
        let wanted =
            wanted.ok_or_else(|| StepError::new(format!("the release has no network `{name}`")))?;
        self.machine.ensure_network(wanted)?;
        if let Some(release) = scene.to() {
            names::prepare(&self.machine, &self.app, release)?;
        }
        Ok(Done::default())
    }

    pub(super) fn ensure_volume(&self, scene: &Scene<'_>, name: &str) -> Step<Done> {
        let volumes = self.machine.containers.volumes();
        let services = scene.to().into_iter().flat_map(|release| release.services.values());
        let mut owned = services.flat_map(|sealed| sealed.service.owned_volumes());
        let wanted = owned.find(|volume| volume.name == name);
        if wanted.is_some_and(|volume| volume.external) && volumes.get(name).is_err() {
            return Err(StepError::new(format!("external volume `{name}` does not exist")));
        }
        let mut record = Volume::named(name, clock::now());
        record.labels.insert(label::APP.to_owned(), self.app.clone());
        volumes.create(&record).map_err(failed)?;
        Ok(Done::default())
    }
}

impl AgentWorld {
    pub(super) fn remove_network(&self, scene: &Scene<'_>, name: &str) -> Step<Done> {
        let services = scene.to().into_iter().flat_map(|release| release.services.values());
        let mut used = services.flat_map(|sealed| sealed.service.networks.values());
        if used.any(|used| used.network.name == name && used.network.external) {
            return Ok(Done::default());
        }
        names::withdraw_from(&self.machine, &self.app, name)?;
        match self.machine.networks.remove(name) {
            Ok(()) | Err(NetError::Missing { .. }) => Ok(Done::default()),
            Err(NetError::InUse { .. }) => Ok(Done::note("others use it: it stays")),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn remove_volume(&self, scene: &Scene<'_>, name: &str) -> Step<Done> {
        let services = scene.to().into_iter().flat_map(|release| release.services.values());
        let mut owned = services.flat_map(|sealed| sealed.service.owned_volumes());
        let volumes = self.machine.containers.volumes();
        let ours = |volume: Volume| volume.labels.get(label::APP) == Some(&self.app);
        let is_external = owned.any(|volume| volume.name == name && volume.external);
        if is_external || !volumes.get(name).is_ok_and(ours) {
            return Ok(Done::default());
        }
        volumes.remove(name).map_err(failed)?;
        Ok(Done::default())
    }
}

pub(super) fn new_service<'a>(scene: &Scene<'a>, service: &str) -> Step<&'a SealedService> {
    scene
        .new_service(service)
        .ok_or_else(|| StepError::new(format!("the release has no service `{service}`")))
}

pub(super) fn sealed<'a>(scene: &Scene<'a>, instance: &Instance) -> Step<&'a SealedService> {
    scene.sealed(instance).ok_or_else(|| {
        StepError::new(format!("no kept release describes instance `{}`", instance.id))
    })
}
