// Package manifests holds the Helm charts of what the two addons deploy to a managed cluster.
package manifests

import "embed"

// Agent is the chart of the agent, in the folder "agent".
//
//go:embed all:agent
var Agent embed.FS

// ArgoWorkflows is the chart of Argo Workflows, in the folder "argo-workflows".
//
//go:embed all:argo-workflows
var ArgoWorkflows embed.FS
