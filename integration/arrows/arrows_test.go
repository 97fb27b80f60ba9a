package arrows

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/eventrouter/eventrouter"

// arrows says which packages of the project the code of a package may import (its tests may import more). The longest
// folder that a package lies in counts; a name that ends in /... stands for all below it too.
var arrows = map[string][]string{
	"rules/topic":     {},
	"rules":           {"rules/..."},
	"router/event":    {"router/event/..."},
	"router/match":    {"rules/...", "router/event/..."},
	"router/plan":     {"rules/...", "router/event", "router/match"},
	"router":          {"rules", "router/event", "router/plan"},
	"router/ingress":  {"rules", "router", "router/event", "router/event/jsonscan", "router/plan"},
	"router/metrics":  {"rules", "router", "router/event", "router/plan"},
	"pipelines":       {"rules", "router", "router/event", "router/plan", "pipelines/..."},
	"pipelines/steps": {"rules", "router", "router/event", "pipelines", "pipelines/steps/..."},
	"pipelines/dead":  {"rules/...", "router", "router/event", "router/plan"},
	"amqp":            {"router", "router/event", "router/plan"},
	"management":      {"router/plan"},
	"amqp/amqpsuite":  {"amqp", "router", "router/event", "router/plan"}, // tests that run on every broker
	"amqp/embedded":   {"rules/topic", "amqp/embedded/..."},
	"cmd/eventrouter": {"..."},
	"integration":     {"..."},
	"examples":        {"..."},
}

// homes says in which folders a library may be imported at all, by code and by tests.
var homes = []struct {
	library string
	code    []string
	tests   []string
}{
	{library: "gopkg.in/yaml.v3", code: []string{"rules"}, tests: []string{"rules"}},
	{library: "github.com/rabbitmq/amqp091-go", code: []string{"amqp", "integration"}, tests: []string{"amqp", "integration"}},
	{library: "go.uber.org/zap", code: []string{"cmd"}, tests: []string{"cmd"}},
	{library: "github.com/spf13/cobra", code: []string{"cmd"}, tests: []string{"cmd"}},
	{library: "github.com/testcontainers/testcontainers-go", code: []string{"integration"}, tests: []string{"integration"}},
	{library: "cel.dev/cel-go", code: []string{"rules"}, tests: []string{"rules"}},
	{library: "github.com/prometheus/client_golang", code: []string{"router/metrics", "cmd"}, tests: []string{"router/metrics", "cmd", "integration"}},
}

// imports is what `go list -json` says of one package, as far as it matters here.
type imports struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (p imports) folder() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func TestPackagesImportOnlyWhatComesEarlier(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		home, known := owner(p.folder())
		if !known {
			t.Errorf("package %q has no place in the table: add it, with what it may import", p.folder())
			continue
		}
		for _, path := range p.Imports {
			target, ours := strings.CutPrefix(path, module+"/")
			if ours && !allowed(arrows[home], target) {
				t.Errorf("package %q imports %q; packages in %q may import only %q", p.folder(), target, home, arrows[home])
			}
		}
	}
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		for _, h := range homes {
			if imported(p.Imports, h.library) && !within(p.folder(), h.code) {
				t.Errorf("package %q imports %q, which belongs in %q only", p.folder(), h.library, h.code)
			}
			if imported(append(p.TestImports, p.XTestImports...), h.library) && !within(p.folder(), h.tests) {
				t.Errorf("the tests of %q import %q, which belongs in the tests of %q only", p.folder(), h.library, h.tests)
			}
		}
	}
}

func TestTableRefusesWhatPointsBackwards(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, to string
		want     bool
	}{
		{"rules", "router/event", false},
		{"rules", "rules/topic", true},
		{"router", "pipelines", false},
		{"router/match", "router", false},
		{"pipelines/steps/webhook", "pipelines", true},
		{"pipelines/steps/webhook", "amqp", false},
		{"amqp", "rules", false},
		{"amqp/embedded", "router/event", false},
		{"amqp/embedded/amqptest", "amqp/embedded", true},
		{"cmd/eventrouter", "amqp", true},
	}
	for _, tt := range tests {
		home, known := owner(tt.from)
		if got := known && allowed(arrows[home], tt.to); got != tt.want {
			t.Errorf("%s may import %s: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

// list returns every package of the project.
func list(t *testing.T) []imports {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []imports
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p imports
		err := dec.Decode(&p)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, which cannot be all", len(packages))
	}
	return packages
}

// owner returns the entry of the table that a package falls under: the longest folder that it lies in.
func owner(folder string) (home string, known bool) {
	for entry := range arrows {
		if (folder == entry || strings.HasPrefix(folder, entry+"/")) && len(entry) > len(home) {
			home, known = entry, true
		}
	}
	return home, known
}

func allowed(list []string, target string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		folder, below := strings.CutSuffix(entry, "...")
		folder = strings.TrimSuffix(folder, "/")
		return target == folder || below && (folder == "" || strings.HasPrefix(target, folder+"/"))
	})
}

func imported(paths []string, library string) bool {
	return slices.ContainsFunc(paths, func(path string) bool { return path == library || strings.HasPrefix(path, library+"/") })
}

func within(folder string, homes []string) bool {
	return slices.ContainsFunc(homes, func(home string) bool { return folder == home || strings.HasPrefix(folder, home+"/") })
}
