// SPDX-License-Identifier: Apache-2.0

package source

import (
	"strings"
	"testing"
)

// specJSON is what the spec of a document becomes.
func specJSON(t *testing.T, spec string) string {
	t.Helper()
	set, problems := loadString(t, "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec: "+spec)
	if len(problems) > 0 || len(set.Resources) != 1 {
		t.Fatalf("%s: %v", spec, problems)
	}
	_, after, _ := strings.Cut(string(set.Resources[0].JSON()), `"spec":`)
	return strings.TrimSuffix(after, "}")
}

func TestScalarsAreReadAsKubernetesReadsThem(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := specJSON(t, in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	f("yes", "true")
	f("Off", "false")
	f("'yes'", `"yes"`)
	f("!!str yes", `"yes"`)
	f("true", "true")
	f("12", "12")
	f("0x1F", "31")
	f("1_000", "1000")
	f("1.5", "1.5")
	f(".inf", `".inf"`)
	f("2024-01-02", `"2024-01-02"`)
	f("~", "null")
	f("", "null")
	f("\"a\\u00e9\\n\"", `"aé\n"`)
	f("|\n  a\n  b\n", `"a\nb\n"`)
	f("<a>", `"\u003ca\u003e"`)
}

func TestAliasesAndMergeKeysAreWrittenOut(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := specJSON(t, in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	f("{a: &x {b: 1}, c: *x}", `{"a":{"b":1},"c":{"b":1}}`)
	f("{a: &x {b: 1, c: 2}, d: {c: 3, <<: *x}}", `{"a":{"b":1,"c":2},"d":{"c":3,"b":1}}`)
	f("{a: &x {b: 1}, c: &y {b: 2, d: 3}, e: {<<: [*x, *y]}}", `{"a":{"b":1},"c":{"b":2,"d":3},"e":{"b":1,"d":3}}`)
	f("{a: &x b, *x : c}", `{"a":"b","b":"c"}`)
}

func TestTreesThatCannotBeMeantAreProblems(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		_, problems := loadString(t, "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n"+spec)
		if len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: problems %v, want %s", spec, problems, want)
		}
	}
	f("  a: 1\n  b: 2\n  a: 3\n", `-:7: error: A default/a: spec: key "a" is there twice; keep one of them`)
	f("  ? [a]\n  : b\n", "-:5: error: A default/a: spec: a key must be a string")
	f("  a: !mine b\n", "-:5: error: A default/a: spec.a: tag !mine is not known")
	f("  <<: 5\n", "-:5: error: A default/a: spec: << must name a mapping")
	f("  <<: {a: 1, a: 2}\n", `-:5: error: key "a" is there twice`)
	f("  a: 1\napiVersion: v1\nkind: B\nmetadata: {name: b}\nspec: {}\n", `-:6: error: A default/a: key "apiVersion" is there `+
		"twice; keep one of them, or write --- before it if another resource begins here")
	f("  a:\n  - x: 1\n  - y: {z: 1, z: 2}\n", `-:7: error: A default/a: spec.a[1].y: key "z" is there twice`)
	f("  a: !!int x\n", "cannot be read as YAML")
}

func TestBombsAreErrors(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		set, problems := loadString(t, in)
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) || !set.Broken["-"] {
			t.Errorf("problems %v, want %s", problems, want)
		}
	}
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 20 {
		n, m := string(rune('a'+i+1)), string(rune('a'+i))
		if i == 0 {
			m = "a0"
		}
		laughs.WriteString(n + ": &" + n + " [" + strings.Repeat("*"+m+", ", 10) + "]\n")
	}
	f(laughs.String(), "aliases expand to more than 100000 nodes")
	f("a: &a [*a]", "nested deeper than 200 levels")
	f("a: &a [*a, *a, *a]", "nested deeper than 200 levels")
	f(strings.Repeat("[", 300)+strings.Repeat("]", 300), "nested deeper than 200 levels")
}

func TestJSONIsReadAsJSONWithItsLines(t *testing.T) {
	set, problems := loadString(t, "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"A\",\n"+
		"\t\"metadata\": {\"name\": \"a\"},\n"+
		"\t\"spec\": {\"smile\": \"\\ud83d\\ude00\\/\", \"n\": 1.50, \"big\": 12345678901, \"t\": true, \"z\": null,"+
		" \"yes\": \"yes\"}\n}\n{\"apiVersion\": \"v1\", \"kind\": \"A\", \"metadata\": {\"name\": \"b\"}}")
	wantProblems(t, problems)
	if got := names(set.Resources); got != "a b" || set.Resources[1].Line != 7 {
		t.Errorf("resources %s, second at line %d", got, set.Resources[1].Line)
	}
	r := set.Resources[0]
	want := `"spec":{"smile":"😀/","n":1.5,"big":12345678901,"t":true,"z":null,"yes":"yes"}}`
	if !strings.HasSuffix(string(r.JSON()), want) {
		t.Errorf("JSON %s, want %s", r.JSON(), want)
	}
	if line := child(r.Node, "spec").Line; line != 5 {
		t.Errorf("spec is at line %d", line)
	}
}

func TestBrokenJSONIsToldInTheWordsOfJSON(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		set, problems := loadString(t, in)
		if len(problems) != 1 || problems[0].String() != want || !set.Broken["-"] {
			t.Errorf("%q: problems %v, want %s", in, problems, want)
		}
	}
	const fix = "; correct the syntax; the file's resources are not read"
	f("{\n\"apiVersion\": \"v1\",\n", "-:2: error: cannot be read as JSON: unexpected EOF"+fix)
	f("{\"a\":\n[1}", "-:2: error: cannot be read as JSON: invalid character '}' after array element"+fix)
	f("{a: [1", "-:1: error: cannot be read as YAML: did not find expected ',' or ']'; close the bracket that begins here "+
		"or above, and put commas between its items; the file's resources are not read")
}

func TestFlowYAMLThatIsNoJSONIsReadToo(t *testing.T) {
	set, problems := loadString(t, "{apiVersion: v1, kind: A, metadata: {name: a}}")
	wantProblems(t, problems)
	if got := names(set.Resources); got != "a" {
		t.Errorf("resources %s", got)
	}
}
