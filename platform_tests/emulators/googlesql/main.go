// Reads {"tables": {"d.t": [["c", "INT64"]]}, "parameters": {"p": "STRING"}, "sql": "..."}, one a
// line, and answers each with [{"sql": "...", "error": ""}], one per statement, as GoogleSQL's
// analyzer sees them. A table that a statement creates is there for those after it, or for those
// beside it in an IF.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"

	sql "github.com/goccy/go-googlesql"
)

type request struct {
	Tables     map[string][][2]string `json:"tables"`
	Parameters map[string]string      `json:"parameters"`
	SQL        string                 `json:"sql"`
}

type statement struct {
	SQL   string `json:"sql"`
	Error string `json:"error"`
}

type analyzer struct {
	language *sql.LanguageOptions
	types    *sql.TypeFactory
	builtin  *sql.SimpleCatalog
}

// conditional is an IF statement, once the parser has taken it: its condition, what it runs.
var conditional = regexp.MustCompile(`(?is)^if (.*?) then\s(.*)end if;?$`)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func newAnalyzer() *analyzer {
	check(sql.Init())
	language := must(sql.NewLanguageOptions())
	check(language.EnableMaximumLanguageFeatures())
	check(language.EnableLanguageFeature(sql.LanguageFeatureFeatureAlterColumnSetDataType))
	for _, spanners := range []sql.LanguageFeature{
		sql.LanguageFeatureFeatureDmlReturning,
		sql.LanguageFeatureFeatureForUpdate,
		sql.LanguageFeatureFeatureInsertOnConflictClause,
	} {
		check(language.DisableLanguageFeature(spanners))
	}
	check(language.SetProductMode(sql.ProductModeProductExternal))
	check(language.SetSupportsAllStatementKinds())
	a := &analyzer{language: language, types: must(sql.NewTypeFactory())}
	a.builtin = must(sql.NewSimpleCatalog("builtin", a.types))
	check(a.builtin.AddBuiltinFunctionsAndTypes(&sql.BuiltinFunctionOptions{LanguageOptions: language}))
	return a
}

func (a *analyzer) options(parameters map[string]string) *sql.AnalyzerOptions {
	options := must(sql.NewAnalyzerOptions2())
	check(options.SetLanguage(a.language))
	for name, kind := range parameters {
		check(options.AddQueryParameter(name, must(a.kind(kind, options))))
	}
	return options
}

func (a *analyzer) kind(name string, options *sql.AnalyzerOptions) (sql.Googlesql_TypeNode, error) {
	return sql.AnalyzeType(name, options, a.builtin, a.types)
}

// catalog has the tables under the datasets that their names begin with.
func (a *analyzer) catalog(tables map[string][][2]string, options *sql.AnalyzerOptions) sql.CatalogNode {
	root := must(sql.NewSimpleCatalog("tables", a.types))
	within := map[string]*sql.SimpleCatalog{"": root}
	for name, columns := range tables {
		at, path := "", strings.Split(name, ".")
		for _, step := range path[:len(path)-1] {
			inner := at + "." + step
			if within[inner] == nil {
				within[inner] = must(sql.NewSimpleCatalog(step, a.types))
				check(within[at].AddCatalog2(step, within[inner]))
			}
			at = inner
		}
		check(within[at].AddTable2(path[len(path)-1], a.table(name, columns, options)))
	}
	return must(sql.NewMultiCatalogCreate("all", []sql.CatalogNode{root, a.builtin}))
}

func (a *analyzer) table(name string, columns [][2]string, options *sql.AnalyzerOptions) *sql.SimpleTable {
	table := must(sql.NewSimpleTable(name, 0))
	for _, column := range columns {
		kind := must(a.kind(column[1], options))
		check(table.AddColumn2(must(sql.NewSimpleColumn(name, column[0], kind, false, true)), false))
	}
	return table
}

func (a *analyzer) answer(asked request) (done []statement) {
	defer func() {
		if beyond := recover(); beyond != nil {
			done = append(done, statement{asked.SQL, fmt.Sprint("not analyzed: ", beyond)})
		}
	}()
	done = []statement{}
	options, tables := a.options(asked.Parameters), asked.Tables
	catalog := a.catalog(tables, options)
	parser := must(sql.NewParserOptions2(nil, nil, a.language))
	rest := must(sql.NewParseResumeLocationFromString(asked.SQL))
	for begin := 0; strings.TrimSpace(asked.SQL[begin:]) != ""; {
		if _, err := sql.ParseNextScriptStatement(rest, parser); err != nil {
			return append(done, statement{strings.TrimSpace(asked.SQL[begin:]), err.Error()})
		}
		end := int(must(rest.BytePosition()))
		one := strings.TrimSpace(asked.SQL[begin:end])
		begin = end
		if inner := conditional.FindStringSubmatch(one); inner != nil {
			within := asked
			within.Tables, within.SQL = tables, "select "+inner[1]+";"+inner[2]
			done = append(done, a.answer(within)...)
			continue
		}
		output, err := sql.AnalyzeStatement(one, options, catalog, a.types)
		if err != nil {
			done = append(done, statement{one, err.Error()})
			continue
		}
		done = append(done, statement{one, ""})
		if name, columns := created(must(output.ResolvedStatement())); name != "" {
			if tables == nil {
				tables = map[string][][2]string{}
			}
			tables[name] = columns
			catalog = a.catalog(tables, options)
		}
	}
	return done
}

// created tells name and columns of the table or view that a statement makes, if it does.
func created(made sql.ResolvedStatementNode) (name string, columns [][2]string) {
	var path []string
	add := func(name string, kind sql.Googlesql_TypeNode) {
		named := kind.(interface {
			TypeName(sql.ProductMode) (string, error)
		})
		columns = append(columns, [2]string{name, must(named.TypeName(sql.ProductModeProductExternal))})
	}
	defined := func(base *sql.ResolvedCreateTableStmtBase) {
		path = must(base.NamePath())
		for _, column := range must(base.ColumnDefinitionList()) {
			add(must(column.Name()), must(column.Type()))
		}
	}
	switch this := made.(type) {
	case *sql.ResolvedCreateTableStmt:
		defined(this.ResolvedCreateTableStmtBase)
	case *sql.ResolvedCreateTableAsSelectStmt:
		defined(this.ResolvedCreateTableStmtBase)
	case *sql.ResolvedCreateViewStmt:
		path = must(this.NamePath())
		for _, column := range must(this.OutputColumnList()) {
			add(must(column.Name()), must(must(column.Column()).Type()))
		}
	}
	return strings.Join(path, "."), columns
}

func main() {
	a := newAnalyzer()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for in.More() {
		var asked request
		check(in.Decode(&asked))
		check(out.Encode(a.answer(asked)))
	}
}
