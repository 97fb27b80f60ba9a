package rules

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the golden files")

// files lists testdata/FOLDER.
func files(t testing.TB, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no files like %s: %v", pattern, err)
	}
	return found
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestWhatIsSaidOfBadFiles compares with testdata/bad/NAME.want, which -update writes.
func TestWhatIsSaidOfBadFiles(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "bad/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, problems := Parse(Source{Name: name + ".yaml", Text: read(t, path)})
			if (file == nil) != (len(problems.Errors()) > 0) || len(problems) == 0 {
				t.Fatalf("file: %v, problems: %v", file != nil, problems)
			}
			var b bytes.Buffer
			if err := problems.Print(&b, PrintOptions{}); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(read(t, golden)); b.String() != want {
				t.Errorf("got:\n%s\nwant:\n%s", &b, want)
			}
		})
	}
}

func TestGoodFilesHaveNoProblems(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "good/*") {
		if file, problems := Load(path); file == nil || len(problems) > 0 {
			t.Errorf("%s:\n%v", path, problems)
		}
	}
}

// compileSchema compiles the schema that the program prints.
func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.UseRegexpEngine(lookaheadless)
	if err := c.AddResource("rules.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("rules.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads a YAML file as the JSON that a schema sees.
func instance(t *testing.T, path string) (any, bool) {
	t.Helper()
	var v any
	if yaml.Unmarshal(read(t, path), &v) != nil {
		return nil, false
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	return out, err == nil
}

// beyondSchema are bad files whose problems a schema cannot express: names that have to exist or be unique, what a pattern or expression means, warnings.
var beyondSchema = map[string]bool{
	"references": true, "covered": true, "unused": true, "prefetch-warning": true, "type-warnings": true, "type-pattern": true, "no-name": true, "two-documents": true,
	"where-syntax": true, "where-type": true, "where-not-bool": true, "where-name": true, "where-block": true, "order-by": true, "wide": true, "long-line": true,
	"empty-lists": true, "pattern-anything-but": true, "pattern-looks-wrong": true, "where-places": true, "costly": true, "covered-conditions": true, "never": true, "order-instances": true,
}

func TestTheSchemaAgreesWithTheProgram(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	for _, path := range append(files(t, "good/*"), files(t, "../../examples/*/rules.yaml")...) {
		v, ok := instance(t, path)
		if !ok {
			t.Fatalf("%s cannot be read", path)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range files(t, "bad/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		v, ok := instance(t, path)
		if !ok {
			continue // no YAML at all
		}
		if err := s.Validate(v); (err == nil) != beyondSchema[name] {
			t.Errorf("%s: the schema says %v", path, err)
		}
	}
}

// lookaheadless reads the schema's patterns with Go's engine, which has no lookahead: the one pattern with it is replaced by its like.
func lookaheadless(pattern string) (jsonschema.Regexp, error) {
	return regexp.Compile(strings.Replace(pattern, `^\$(?!or$|and$|not$)`, `^\$([^oan]|o[^r]|a[^n]|n[^o]|or.|and.|not.|$)`, 1))
}
