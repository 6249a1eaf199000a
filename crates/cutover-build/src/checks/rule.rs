//! The rules by name. Names and pages are BuildKit's, the sentences are ours.

/// One of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JSONArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
}

impl Rule {
    /// Every rule, in the order of BuildKit's documentation.
    pub const ALL: [Self; 22] = [
        Self::StageNameCasing,
        Self::FromAsCasing,
        Self::NoEmptyContinuation,
        Self::ConsistentInstructionCasing,
        Self::DuplicateStageName,
        Self::ReservedStageName,
        Self::JSONArgsRecommended,
        Self::MaintainerDeprecated,
        Self::UndefinedArgInFrom,
        Self::WorkdirRelativePath,
        Self::UndefinedVar,
        Self::MultipleInstructionsDisallowed,
        Self::LegacyKeyValueFormat,
        Self::InvalidBaseImagePlatform,
        Self::RedundantTargetPlatform,
        Self::SecretsUsedInArgOrEnv,
        Self::InvalidDefaultArgInFrom,
        Self::FromPlatformFlagConstDisallowed,
        Self::CopyIgnoredFile,
        Self::InvalidDefinitionDescription,
        Self::ExposeProtoCasing,
        Self::ExposeInvalidFormat,
    ];

    /// What `# check=skip=` calls it.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// Why the rule is there, in one sentence.
    pub fn description(self) -> &'static str {
        self.words().1
    }

    /// An experimental rule is off unless `experimental=` names it.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    /// The page that explains it; one rule has none.
    pub fn url(self) -> Option<String> {
        if self == Self::InvalidBaseImagePlatform {
            return None;
        }
        let mut slug = String::new();
        let name: Vec<char> = self.name().chars().collect();
        for (index, &ch) in name.iter().enumerate() {
            let next_is_lower = name.get(index + 1).is_some_and(char::is_ascii_lowercase);
            let after_lower = index > 0 && name[index - 1].is_ascii_lowercase();
            if index > 0 && ch.is_ascii_uppercase() && (after_lower || next_is_lower) {
                slug.push('-');
            }
            slug.push(ch.to_ascii_lowercase());
        }
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{slug}/"))
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::StageNameCasing => {
                ("StageNameCasing", "names of stages are written in lower case")
            }
            Self::FromAsCasing => ("FromAsCasing", "`AS` is written in the case of its `FROM`"),
            Self::NoEmptyContinuation => (
                "NoEmptyContinuation",
                "an empty line within an instruction is tolerated for now and will be an error",
            ),
            Self::ConsistentInstructionCasing => (
                "ConsistentInstructionCasing",
                "all keywords of a Dockerfile are written alike, in upper or in lower case",
            ),
            Self::DuplicateStageName => ("DuplicateStageName", "each stage has a name of its own"),
            Self::ReservedStageName => {
                ("ReservedStageName", "`scratch` and `context` have a meaning already")
            }
            Self::JSONArgsRecommended => (
                "JSONArgsRecommended",
                "in shell form the shell gets the signals, not the program: write JSON",
            ),
            Self::MaintainerDeprecated => (
                "MaintainerDeprecated",
                "the author belongs into the label `org.opencontainers.image.authors`",
            ),
            Self::UndefinedArgInFrom => {
                ("UndefinedArgInFrom", "FROM only sees what an ARG above it declares")
            }
            Self::WorkdirRelativePath => (
                "WorkdirRelativePath",
                "a relative directory depends on the base image unless an absolute one came before",
            ),
            Self::UndefinedVar => {
                ("UndefinedVar", "a variable is declared before it is used; else it is empty")
            }
            Self::MultipleInstructionsDisallowed => (
                "MultipleInstructionsDisallowed",
                "only the last one of a stage counts: the others mislead",
            ),
            Self::LegacyKeyValueFormat => {
                ("LegacyKeyValueFormat", "`key=value` is clear where `key value` is not")
            }
            Self::InvalidBaseImagePlatform => (
                "InvalidBaseImagePlatform",
                "the base image is for another platform than the one that is built for",
            ),
            Self::RedundantTargetPlatform => (
                "RedundantTargetPlatform",
                "the target's platform is what FROM takes without being told",
            ),
            Self::SecretsUsedInArgOrEnv => (
                "SecretsUsedInArgOrEnv",
                "values of ARG and ENV stay readable in the image: use `RUN --mount=type=secret`",
            ),
            Self::InvalidDefaultArgInFrom => {
                ("InvalidDefaultArgInFrom", "without --build-arg the base image has no valid name")
            }
            Self::FromPlatformFlagConstDisallowed => (
                "FromPlatformFlagConstDisallowed",
                "a fixed platform keeps the image from being built for others",
            ),
            Self::CopyIgnoredFile => {
                ("CopyIgnoredFile", "what .dockerignore excludes is not there to be copied")
            }
            Self::InvalidDefinitionDescription => (
                "InvalidDefinitionDescription",
                "a comment right above ARG or FROM describes it and begins with its name",
            ),
            Self::ExposeProtoCasing => {
                ("ExposeProtoCasing", "protocols in EXPOSE are written in lower case")
            }
            Self::ExposeInvalidFormat => (
                "ExposeInvalidFormat",
                "EXPOSE takes the container's port only: no address and no port of the host",
            ),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn pages_are_the_names_with_dashes() {
        let page = |rule: Rule| {
            let url = rule.url().unwrap();
            url.trim_end_matches('/').rsplit('/').next().unwrap().to_owned()
        };
        assert_eq!(page(Rule::JSONArgsRecommended), "json-args-recommended");
        assert_eq!(page(Rule::SecretsUsedInArgOrEnv), "secrets-used-in-arg-or-env");
        assert_eq!(page(Rule::FromAsCasing), "from-as-casing");
    }

    #[test]
    fn names_are_their_own() {
        for rule in Rule::ALL {
            assert_eq!(rule.name(), format!("{rule:?}"));
        }
    }
}
