package verbs

// TwoSteps runs a pod for long enough to do something to it on a busy machine, and then another one.
var TwoSteps = twoSteps("20")

// LongStep does the same, with a first pod that is still there when Argo notices late that its time is over.
var LongStep = twoSteps("60")

func twoSteps(seconds string) Workflow {
	return Workflow{"The first of two pods runs.", `
entrypoint: main
templates:
- name: main
  steps: [[{name: one, template: long}], [{name: two, template: short}]]
- name: long
  metadata: {annotations: {simulated-pod/duration: ` + seconds + `s}}
  container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["` + seconds + `"]}
- name: short
  container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["0"]}
`}
}

// Gates waits for users in three nodes, two of which want a value.
var Gates = Workflow{"Three nodes wait for somebody.", `
entrypoint: main
templates:
- name: main
  steps:
  - - {name: approve, template: approve}
    - {name: ticket, template: ticket}
    - {name: plain, template: plain}
- name: approve
  suspend: {}
  outputs: {parameters: [{name: ok, globalName: approval, valueFrom: {supplied: {}, default: "no"}}]}
- name: ticket
  suspend: {}
  outputs: {parameters: [{name: id, valueFrom: {supplied: {}}}]}
- name: plain
  suspend: {}
`}

// Flaky runs a pod that succeeds, and then two more, one of which fails if the parameter code is not 0.
var Flaky = Workflow{"One of three pods has failed.", `
entrypoint: main
arguments: {parameters: [{name: code, value: "1"}, {name: other, value: o}]}
templates:
- name: main
  dag:
    tasks:
    - {name: good, template: pod, arguments: {parameters: [{name: code, value: "0"}]}}
    - {name: bad, template: pod, depends: good, arguments: {parameters: [{name: code, value: "{{workflow.parameters.code}}"}]}}
    - {name: group, template: group, depends: good}
- name: group
  steps: [[{name: fine, template: pod, arguments: {parameters: [{name: code, value: "0"}]}}]]
- name: pod
  inputs: {parameters: [{name: code}]}
  metadata: {annotations: {simulated-pod/exit-code: "{{inputs.parameters.code}}"}}
  container:
    {image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c], args: ["exit {{inputs.parameters.code}}"]}
`}

// All is what the end-to-end test does.
var All = []Verb{
	{
		Done: "`argo stop`", On: TwoSteps,
		Do:      []Step{{When: Runs, Do: "argo stop {}"}},
		Happens: "The second pod never starts.", Want: "Failed", Pods: 1,
	},
	{
		Done: "`argo terminate`", On: TwoSteps,
		Do:      []Step{{When: Runs, Do: "argo terminate {}"}},
		Happens: "The second pod never starts.", Want: "Failed", Pods: 1,
	},
	{
		Done: "`argo suspend`, and `argo resume` once the first pod is done", On: TwoSteps,
		Do:      []Step{{When: Runs, Do: "argo suspend {}"}, {When: Moment{Over: "one"}, Do: "argo resume {}"}},
		Happens: "It goes on after the resume.", Want: "Succeeded", Pods: 2,
	},
	{
		Done: "`kubectl patch`: `spec.shutdown` becomes `Terminate`", On: TwoSteps,
		Do:      []Step{{When: Runs, Do: `kubectl patch workflow {} --type=merge --patch={"spec":{"shutdown":"Terminate"}}`}},
		Happens: "The second pod never starts.", Want: "Failed", Pods: 1,
	},
	{
		Done: "`kubectl patch`: `spec.suspend` becomes true, and null once the first pod is done", On: TwoSteps,
		Do: []Step{
			{When: Runs, Do: `kubectl patch workflow {} --type=merge --patch={"spec":{"suspend":true}}`},
			{When: Moment{Over: "one"}, Do: `kubectl patch workflow {} --type=merge --patch={"spec":{"suspend":null}}`},
		},
		Happens: "It goes on after the second patch.", Want: "Succeeded", Pods: 2,
	},
	{
		Done: "`kubectl patch`: `spec.activeDeadlineSeconds` becomes 1", On: LongStep,
		Do:      []Step{{When: Runs, Do: `kubectl patch workflow {} --type=merge --patch={"spec":{"activeDeadlineSeconds":1}}`}},
		Happens: "Its time is over. The second pod never starts.", Want: "Failed", Pods: 1,
	},

	{
		Done: "`argo node set` of an output, then `argo resume`", On: Gates,
		Do: []Step{
			{When: Waits, Do: "argo node set {} --node-field-selector displayName=ticket --output-parameter id=T1"},
			{When: Moment{Set: "ticket", Value: "T1"}, Do: "argo resume {}"},
		},
		Happens: "All three nodes succeed, that one with this output.", Want: "Succeeded",
	},
	{
		Done: "`argo resume`, `argo stop`, `argo resume`, each of one node", On: Gates,
		Do: []Step{
			{When: Waits, Do: "argo resume {} --node-field-selector displayName=plain"},
			{When: Moment{Over: "plain"}, Do: "argo stop {} --node-field-selector displayName=ticket --message no"},
			{When: Moment{Over: "ticket"}, Do: "argo resume {} --node-field-selector displayName=approve"},
		},
		Happens: "Two nodes succeed, the other fails with the message given.", Want: "Failed",
	},
	{
		Done: "`argo node set` of outputs, phases and messages", On: Gates,
		Do: []Step{
			{When: Waits, Do: "argo node set {} --node-field-selector displayName=approve --output-parameter ok=yes"},
			{
				When: Moment{Set: "approve", Value: "yes"},
				Do:   "argo node set {} --node-field-selector displayName=approve --phase Succeeded --message fine",
			},
			{When: Waits, Do: "argo node set {} --node-field-selector displayName=ticket --output-parameter id=T2 --phase Succeeded"},
			{When: Moment{Over: "ticket"}, Do: "argo node set {} --node-field-selector displayName=plain --phase Error --message broken"},
		},
		Happens: "Each node ends with what was set: two succeed, one is an error.", Want: "Failed",
	},
	{
		Done: "`argo stop`, then `argo retry`", On: Gates,
		Do:      []Step{{When: Waits, Do: "argo stop {}"}, {When: Failed, Do: "argo retry {}"}},
		Happens: "It fails again at once: the nodes stay stopped.", Want: "Failed",
	},
	{
		Done: "`argo stop`, then `argo retry`", On: TwoSteps,
		Do:      []Step{{When: Runs, Do: "argo stop {}"}, {When: Failed, Do: "argo retry {}"}},
		Happens: "The first pod runs again, then the second.", Want: "Succeeded", Pods: 3,
	},
	{
		Done: "`argo retry -p`, with a value that works", On: Flaky,
		Do:      []Step{{When: Failed, Do: "argo retry {} -p code=0"}},
		Happens: "The failed pod runs again, and no other.", Want: "Succeeded", Pods: 4,
	},
	{
		Done: "`argo retry` twice, then `argo retry -p`", On: Flaky,
		Do: []Step{
			{When: Failed, Do: "argo retry {}"},
			{When: Moment{Phase: "Failed", Ran: 4}, Do: "argo retry {}"},
			{When: Moment{Phase: "Failed", Ran: 5}, Do: "argo retry {} -p code=0"},
		},
		Happens: "The failed pod runs again each time, and no other.", Want: "Succeeded", Pods: 6,
	},
	{
		Done: "`argo retry -p`, `argo retry`, `argo retry --restart-successful`", On: Flaky,
		Do: []Step{
			{When: Failed, Do: "argo retry {} -p code=0"},
			{When: Succeeded, Do: "argo retry {}", Fails: true},
			{When: Succeeded, Do: "argo retry {} --restart-successful --node-field-selector displayName=fine"},
		},
		Happens: "The second is refused: it succeeded. The third reruns a pod.", Want: "Succeeded", Pods: 5,
	},
}
