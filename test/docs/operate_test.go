package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

const operate = "../../docs/operate.md"

var (
	inCode   = regexp.MustCompile("`([^`]+)`")
	newOf    = regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary)(?:Vec)?$`)
	ourName  = regexp.MustCompile(`argo_multicluster_\w+`)
	verb     = regexp.MustCompile(`%[-+#0-9.\[\]]*[a-zA-Z]`)
	notOurs  = regexp.MustCompile(`^User "`)
	spaces   = regexp.MustCompile(`\s+`)
	unfolded = regexp.MustCompile(`>-\s+`)
)

// metric is a metric as the source registers it, or the documentation says.
type metric struct{ kind, labels string }

func TestEveryMetricIsDocumented(t *testing.T) {
	bad := map[string]bool{}
	rows, err := docs.Table(operate, "What a bad value means")
	require.NoError(t, err)
	for _, row := range rows {
		require.Len(t, row, 2, row)
		assert.NotEmpty(t, row[1], "%s: no bad value", row[0])
		bad[strings.Trim(row[0], "`")] = true
	}
	all := 0
	for heading, dirs := range map[string][]string{
		"Metrics of the manager": {"hub", "addon"}, "Metrics of the agent": {"agent"},
	} {
		registered := map[string]metric{}
		for _, dir := range dirs {
			eachFile(t, filepath.Join("..", "..", "pkg", dir), func(file *ast.File) { addMetrics(t, file, registered) })
		}
		require.NotEmpty(t, registered)
		rows, err := docs.Table(operate, heading)
		require.NoError(t, err)
		documented := map[string]metric{}
		for _, row := range rows {
			require.Len(t, row, 5, row)
			for i, column := range []string{"metric", "type", "", "unit", "meaning"} {
				assert.True(t, column == "" || row[i] != "", "%s: no %s", row[0], column)
			}
			label, _, _ := strings.Cut(row[2], ":")
			name := strings.Trim(row[0], "`")
			documented[name] = metric{kind: row[1], labels: strings.Trim(label, "`")}
			assert.True(t, bad[name], "what does a bad value of %s mean?", name)
		}
		assert.Equal(t, registered, documented, heading)
		all += len(registered)
	}
	assert.Len(t, bad, all)
}

// addMetrics adds the metrics that a file of the source registers.
func addMetrics(t *testing.T, file *ast.File, to map[string]metric) {
	t.Helper()
	if !slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.Contains(i.Path.Value, "client_golang/prometheus") }) {
		return
	}
	prefix := ""
	ast.Inspect(file, func(n ast.Node) bool {
		field, ok := n.(*ast.KeyValueExpr)
		if key, is := keyOf(field); ok && is && (key == "Namespace" || key == "Subsystem") {
			prefix += textOf(field.Value) + "_"
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !newOf.MatchString(selector.Sel.Name) {
			return true
		}
		name := nameIn(call.Args[0])
		require.NotEmpty(t, name, "a metric whose name is not to be found")
		if !strings.HasPrefix(name, "argo_multicluster_") {
			name = prefix + name
		}
		m := metric{kind: strings.ToLower(newOf.FindStringSubmatch(selector.Sel.Name)[1])}
		if len(call.Args) > 1 {
			m.labels = nameIn(call.Args[1])
		}
		to[name] = m
		return true
	})
}

// nameIn returns the field Name of a literal or else the first text in it.
func nameIn(n ast.Node) (name string) {
	first := ""
	ast.Inspect(n, func(n ast.Node) bool {
		if field, ok := n.(*ast.KeyValueExpr); ok {
			if key, is := keyOf(field); is && key == "Name" {
				name = textOf(field.Value)
			}
		}
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING && first == "" {
			first = textOf(literal)
		}
		return true
	})
	if name == "" {
		return first
	}
	return name
}

func keyOf(field *ast.KeyValueExpr) (string, bool) {
	if field == nil {
		return "", false
	}
	key, ok := field.Key.(*ast.Ident)
	if !ok {
		return "", false
	}
	return key.Name, true
}

// textOf returns a text, also one in several pieces, with an ellipsis for what is not a literal.
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return textOf(e.X) + textOf(e.Y)
		}
	}
	return "…"
}

func TestTheAlertsAreOfMetricsThatAreThere(t *testing.T) {
	registered := map[string]metric{}
	eachFile(t, filepath.Join("..", "..", "pkg"), func(file *ast.File) { addMetrics(t, file, registered) })
	alerts, err := os.ReadFile("../../example/hub/alerts.yaml")
	require.NoError(t, err)
	pages, err := os.ReadFile(operate)
	require.NoError(t, err)
	names := append(ourName.FindAllString(string(alerts), -1), ourName.FindAllString(string(pages), -1)...)
	require.NotEmpty(t, names)
	for _, name := range names {
		_, is := registered[strings.TrimSuffix(name, "_bucket")]
		assert.True(t, is, "there is no metric %s", name)
	}
	rows, err := docs.Table(operate, "Alerts worth having")
	require.NoError(t, err)
	var documented, defined []string
	for _, row := range rows {
		documented = append(documented, strings.Trim(row[0], "`"))
	}
	for _, found := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(alerts), -1) {
		defined = append(defined, found[1])
	}
	assert.Equal(t, defined, documented)
}

func TestWhatToDoIsSaidOfEveryEvent(t *testing.T) {
	rows, err := docs.Table("../../docs/status.md", "Events")
	require.NoError(t, err)
	said := map[string]bool{}
	for _, row := range tableRows(t) {
		if row.head[0] != "Event" && row.head[0] != "in its log, or as an Event" {
			continue
		}
		require.NotEmpty(t, row.cells[len(row.cells)-1], "nothing to do about %s", row.cells[0])
		for _, reason := range inCode.FindAllStringSubmatch(row.cells[0], -1) {
			said[reason[1]] = true
		}
	}
	for _, row := range rows {
		for _, reason := range inCode.FindAllStringSubmatch(row[0], -1) {
			assert.True(t, said[reason[1]], "docs/operate.md does not say what to do about Event %s", reason[1])
		}
	}
}

func TestTheMessagesAreThoseOfTheSource(t *testing.T) {
	source := texts(t)
	checked := 0
	for _, row := range tableRows(t) {
		for i, head := range row.head {
			if head != "message" && head != "in its log, or as an Event" && (head != "answer" || i > 0) {
				continue
			}
			for _, message := range inCode.FindAllStringSubmatch(row.cells[i], -1) {
				if !strings.Contains(message[1], " ") || notOurs.MatchString(message[1]) {
					continue
				}
				for part := range strings.SplitSeq(message[1], "…") {
					checked++
					assert.Contains(t, source, strings.Trim(part, " :,)"), "nobody says %q, of %q", part, message[1])
				}
			}
		}
	}
	assert.Greater(t, checked, 100)
}

// texts returns all texts of the source and of the hub chart's templates.
func texts(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"pkg", "cmd"} {
		eachFile(t, filepath.Join("..", "..", dir), func(file *ast.File) {
			ast.Inspect(file, func(n ast.Node) bool {
				expression, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				text := textOf(expression)
				if text == "…" {
					return true
				}
				all.WriteString(verb.ReplaceAllString(text, "…") + "\n")
				return false // not the pieces again
			})
		})
	}
	templates, err := filepath.Glob("../../charts/argo-workflow-multicluster/templates/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, templates)
	for _, path := range templates {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		all.WriteString(spaces.ReplaceAllString(unfolded.ReplaceAllString(string(text), ""), " ") + "\n")
	}
	return all.String()
}

// eachFile parses the source below a folder, without its tests.
func eachFile(t *testing.T, dir string, do func(*ast.File)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			do(file)
		}
		return err
	}))
}

// tableRow is a row of a table, with the table's head.
type tableRow struct{ head, cells []string }

// tableRows returns the rows of all tables of the page.
func tableRows(t *testing.T) []tableRow {
	t.Helper()
	text, err := os.ReadFile(operate)
	require.NoError(t, err)
	var rows []tableRow
	var head []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			head = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case head == nil:
			head = cells
		case !strings.HasPrefix(line, "|---"):
			require.Len(t, cells, len(head), line)
			rows = append(rows, tableRow{head, cells})
		}
	}
	return rows
}
