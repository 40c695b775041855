package attest

// Platform describes a build platform, which nixoci recognises by the environment variables of its
// runners. The variables prove nothing to other people. Only a signature by the platform's identity
// is a proof.
type Platform struct {
	Builder  string    // the URI for builder.id; "" if the runner is the user's own machine
	Checkout *Checkout // nil if the platform does not name the repository and commit
}

// PlatformOf recognises a runner by the variables that the platforms document:
// docs.github.com/actions/reference/variables-reference and
// docs.gitlab.com/ci/variables/predefined_variables. It returns the same URIs that npm and GitLab's
// runner write for these platforms.
//
// A self-hosted runner of GitHub is the machine of its owner, so PlatformOf does not return GitHub
// as its builder.
func PlatformOf(getenv func(string) string) Platform {
	var p Platform
	switch {
	case getenv("GITHUB_ACTIONS") == "true":
		const github = "https://github.com"
		if getenv("RUNNER_ENVIRONMENT") == "github-hosted" && getenv("GITHUB_SERVER_URL") == github {
			p.Builder = github + "/actions/runner/github-hosted"
		}
		p.Checkout = checkout(getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), getenv("GITHUB_REF"), getenv("GITHUB_SHA"))
	case getenv("GITLAB_CI") == "true":
		if project, runner := getenv("CI_PROJECT_URL"), getenv("CI_RUNNER_ID"); project != "" && runner != "" {
			p.Builder = project + "/-/runners/" + runner
		}
		ref := "refs/heads/" + getenv("CI_COMMIT_BRANCH")
		if tag := getenv("CI_COMMIT_TAG"); tag != "" {
			ref = "refs/tags/" + tag
		} else if getenv("CI_COMMIT_BRANCH") == "" {
			ref = "" // in the pipeline of a merge request, neither variable is set
		}
		p.Checkout = checkout(getenv("CI_SERVER_URL"), getenv("CI_PROJECT_PATH"), ref, getenv("CI_COMMIT_SHA"))
	}
	return p
}

// checkout returns nil if the platform does not name a repository and a commit.
func checkout(server, repository, ref, revision string) *Checkout {
	if server == "" || repository == "" || revision == "" {
		return nil
	}
	c := &Checkout{URI: "git+" + server + "/" + repository, Revision: revision}
	if ref != "" {
		c.URI += "@" + ref
	}
	return c
}
