//! The device nodes of a container's `/dev`, and who may use them.

use rustix::fs::{FileType, makedev};

use super::CreateError;
use super::plan::invalid;
use super::program::Node;
use super::target::Target;
use crate::cgroup::{DeviceRule, DeviceType};
use crate::mounts;
use crate::spec::{Device, Spec};

type Result<T> = std::result::Result<T, CreateError>;

/// Device nodes, and the rules that let the container use them (`None`: all devices).
pub(super) fn nodes(spec: &Spec) -> Result<(Vec<Node>, Option<Vec<DeviceRule>>)> {
    const DEFAULT: [(&str, u32, u32); 6] = [
        ("/null", 1, 3),
        ("/zero", 1, 5),
        ("/full", 1, 7),
        ("/random", 1, 8),
        ("/urandom", 1, 9),
        ("/tty", 5, 0),
    ];
    let character = FileType::CharacterDevice.as_raw_mode();
    let mut nodes = Vec::new();
    for (path, major, minor) in DEFAULT {
        let target = Target::new(path).map_err(|reason| invalid("devices", reason))?;
        let device = makedev(major, minor);
        nodes.push(Node { target, mode: character | 0o666, device, uid: 0, gid: 0 });
    }
    let mut rules = crate::cgroup::DEFAULT_DEVICES.to_vec();
    for device in &spec.devices {
        let (node, rule) = host_device(device)?;
        nodes.retain(|other: &Node| other.target != node.target);
        nodes.push(node);
        rules.push(rule);
    }
    Ok((nodes, (!spec.privileged).then_some(rules)))
}

fn host_device(device: &Device) -> Result<(Node, DeviceRule)> {
    let target = Target::new(&device.target).map_err(|reason| invalid("devices", reason))?;
    let below = target.display().strip_prefix("/dev").filter(|_| target.depth() > 1);
    let ours = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/null"];
    let Some(below) = below.filter(|_| !ours.iter().any(|path| target.is_within(path))) else {
        return Err(invalid("devices", format!("`{}` is not a place for a device", device.target)));
    };
    if !device.permissions.chars().all(|c| "rwm".contains(c)) {
        let reason = format!("`{}`: permissions are `r`, `w` and `m`", device.permissions);
        return Err(invalid("devices", reason));
    }
    let stat = mounts::device(&device.source)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => DeviceType::Character,
        FileType::BlockDevice => DeviceType::Block,
        _ => {
            let reason = format!("`{}` is not a device", device.source.display());
            return Err(invalid("devices", reason));
        }
    };
    let target = Target::new(below).map_err(|reason| invalid("devices", reason))?;
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    let node = Node { target, mode: stat.st_mode, device: stat.st_rdev, uid, gid };
    let rule = DeviceRule {
        kind,
        major: Some(rustix::fs::major(stat.st_rdev)),
        minor: Some(rustix::fs::minor(stat.st_rdev)),
        read: device.permissions.contains('r'),
        write: device.permissions.contains('w'),
        make: device.permissions.contains('m'),
    };
    Ok((node, rule))
}
