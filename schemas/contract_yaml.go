package schemas

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ParseContract reads one contract, the ODCS 3.1 YAML of one table. The error
// is a *ContractError with everything that is wrong in it.
func ParseContract(file string, data []byte) (*Contract, error) {
	p := contractParser{yamlFile: yamlFile{name: file}}
	root := p.root(data)
	if root == nil {
		return nil, p.err()
	}
	c := p.contract(root)
	if len(p.problems) > 0 {
		return nil, p.err()
	}
	return c, nil
}

// The keys that ODCS 3.1.0 has for a contract, a table and a column.
var (
	contractKeys = []string{
		"apiVersion", "authoritativeDefinitions", "contractCreatedTs", "customProperties", "dataProduct",
		"description", "domain", "id", "kind", "name", "price", "roles", "schema", "servers", "slaDefaultElement",
		"slaProperties", "status", "support", "tags", "team", "tenant", "version",
	}
	// idleStatuses are those of ODCS in which a contract is not in force.
	idleStatuses = []string{"proposed", "draft", "retired"}
	requiredKeys = []string{"apiVersion", "kind", "id", "version", "status", "schema"}
	tableKeys    = []string{
		"authoritativeDefinitions", "businessName", "customProperties", "dataGranularityDescription", "description",
		"id", "logicalType", "name", "physicalName", "physicalType", "properties", "quality", "relationships", "tags",
	}
	columnKeys = []string{
		"authoritativeDefinitions", "businessName", "classification", "criticalDataElement", "customProperties",
		"description", "encryptedName", "examples", "id", "logicalType", "logicalTypeOptions", "name",
		"partitionKeyPosition", "partitioned", "physicalName", "physicalType", "primaryKey", "primaryKeyPosition",
		"properties", "quality", "relationships", "required", "tags", "transformDescription", "transformLogic",
		"transformSourceObjects", "unique", "items",
	}
	// A retention that is misspelt would be none.
	slaProperties = []string{
		"availability", "endOfLife", "endOfSupport", "errorRate", "frequency", "freshness", "generalAvailability",
		"latency", "retention", "throughput", "timeOfAvailability", "timeToDetect", "timeToNotify", "timeToRepair",
	}
	slaKeys = []string{
		"description", "driver", "element", "id", "property", "schedule", "scheduler", "unit", "value", "valueExt",
	}
)

// The custom properties that mean something here.
var (
	contractProperties = []string{"consent", "domain", "eventTime", "legalBasis", "links", "onDeny", "prospective", "purposes", "where"}
	columnProperties   = []string{
		"coerce", "fidesDataCategories", "identifier", "masked", "path", "purposes", "treatment",
	}
)

var lowerName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// contractParser reads a contract from YAML nodes.
type contractParser struct {
	yamlFile
	columns []columnFacts // of the contract's fields
}

func (p *contractParser) contract(root *yaml.Node) *Contract {
	c := &Contract{File: p.name, EventTime: -1}
	top := p.object(root, "contract", contractKeys, "; what ODCS has no key for belongs into customProperties")
	if root.Kind != yaml.MappingNode {
		return c
	}
	for _, key := range requiredKeys {
		if top[key] == nil {
			p.problem(root.Line, "contract: the key %s is missing", key)
		}
	}
	if n := top["apiVersion"]; n != nil {
		p.choice(n, "apiVersion", []string{"v3.1.0"})
	}
	if n := top["kind"]; n != nil {
		p.choice(n, "kind", []string{"DataContract"})
	}
	if n := top["status"]; n != nil {
		if status, _ := p.text(n, "status"); slices.Contains(idleStatuses, strings.ToLower(status)) {
			p.problem(n.Line, "status: a contract that is %s is not in force, so no data may be taken under it; write active when it is", status)
		}
	}
	if n := top["id"]; n != nil {
		c.ID, _ = p.text(n, "id")
	}
	if n := top["version"]; n != nil {
		c.Version, _ = p.text(n, "version")
	}
	if n := top["schema"]; n != nil {
		p.table(c, n)
	}
	own := p.customProperties(top["customProperties"], "contract", contractProperties, columnProperties, "a column")
	p.settings(c, own)
	p.service(c, top["slaProperties"])
	p.check(c, root.Line, own)
	p.signals(c, own["consent"]) // their fields stand behind the columns
	return c
}

// table reads the one table of a contract.
func (p *contractParser) table(c *Contract, n *yaml.Node) {
	tables := p.items(n, "schema")
	if n.Kind == yaml.SequenceNode && len(tables) != 1 {
		p.problem(n.Line, "schema: must have exactly one table, has %d", len(tables))
		return
	}
	if len(tables) == 0 {
		return
	}
	table := p.object(tables[0], "table", tableKeys, "; what ODCS has no key for belongs into customProperties")
	if tables[0].Kind != yaml.MappingNode {
		return
	}
	c.Table = p.columnName(tables[0], table["name"], "table")
	if c.Table == RejectsTable {
		p.problem(table["name"].Line, "table: the name %s is reserved for the list of rejected messages", c.Table)
	}
	if t := table["logicalType"]; t != nil {
		p.choice(t, "table: logicalType", []string{"object"})
	}
	p.customProperties(table["customProperties"], "table", nil, contractProperties, "the contract")
	if table["properties"] == nil {
		p.problem(tables[0].Line, "table: the key properties is missing")
		return
	}
	columns := p.items(table["properties"], "properties")
	if table["properties"].Kind == yaml.SequenceNode && len(columns) == 0 {
		p.problem(table["properties"].Line, "properties: the list is empty")
	}
	for _, column := range columns {
		p.column(c, column)
	}
}

// columnName reads a name of a table or column.
func (p *contractParser) columnName(parent, n *yaml.Node, what string) string {
	if n == nil {
		p.problem(parent.Line, "%s: the key name is missing", what)
		return ""
	}
	name, ok := p.text(n, what+": name")
	if ok && !lowerName.MatchString(name) {
		p.problem(n.Line, "%s: the name %q is not allowed; it must begin with a-z and have only a-z, 0-9 and _", what, name)
	}
	return name
}

// settings reads the contract's own custom properties, but for eventTime.
func (p *contractParser) settings(c *Contract, own map[string]*yaml.Node) {
	if n := own["where"]; n != nil {
		p.where(c, n)
	}
	if n := own["purposes"]; n != nil {
		c.Purposes = p.purposes(n, "contract")
	}
	if n := own["legalBasis"]; n != nil {
		basis, ok := p.text(n, "legalBasis")
		if ok && !slices.Contains(consentBases[:], basis) {
			p.problem(n.Line, "legalBasis: %q is not supported, only consent can be shown by the ledger; allowed: %s", basis, strings.Join(consentBases[:], ", "))
		}
		c.LegalBasis = basis
	}
	if n := own["onDeny"]; n != nil {
		c.OnDeny = Denial(max(p.choice(n, "onDeny", denialNames[:]), 0))
	}
	if n := own["prospective"]; n != nil {
		c.Prospective = p.boolean(n, "prospective")
	}
	if n := own["domain"]; n != nil {
		domain, ok := p.text(n, "domain")
		switch {
		case !ok:
		case domain == LedgerDomain:
			p.problem(n.Line, "domain: %s is reserved for the consent ledger", domain)
		case !lowerName.MatchString(domain):
			p.problem(n.Line, "domain: the name %q is not allowed; it must begin with a-z and have only a-z, 0-9 and _", domain)
		}
		c.Domain = domain
	}
}

func (p *contractParser) where(c *Contract, n *yaml.Node) {
	for _, m := range p.members(n, "where") {
		path, err := ParsePath(m.key.Value)
		if err != nil {
			p.problem(m.key.Line, "where: %v", err)
			continue
		}
		if slices.ContainsFunc(c.Where, func(o Match) bool { return slices.Equal(o.Path, path) }) {
			p.problem(m.key.Line, "where: the path %s is listed twice", path)
			continue
		}
		if value, ok := p.text(m.value, fmt.Sprintf("where: %s", path)); ok {
			c.Where = append(c.Where, Match{Path: path, Value: value})
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.problem(n.Line, "where: must have at least one path; leave it out to take every event")
	}
}

// customProperties reads the list of custom properties in one place: ours by
// name, and others as long as their name cannot be mistaken for one of ours.
// elsewhere are names that belong to another place.
func (p *contractParser) customProperties(n *yaml.Node, what string, ours, elsewhere []string, place string) map[string]*yaml.Node {
	values := map[string]*yaml.Node{}
	if n == nil {
		return values
	}
	for _, item := range p.items(n, what+": customProperties") {
		entry := p.object(item, what+": custom property", []string{"property", "value", "id", "description"}, "")
		if item.Kind != yaml.MappingNode {
			continue
		}
		if entry["property"] == nil || entry["value"] == nil {
			p.problem(item.Line, "%s: a custom property needs the keys property and value", what)
			continue
		}
		name, ok := p.text(entry["property"], what+": custom property")
		line := entry["property"].Line
		switch {
		case !ok || foreign(name):
		case values[name] != nil:
			p.problem(line, "%s: the custom property %s stands twice", what, name)
		case slices.Contains(ours, name):
			values[name] = entry["value"]
		case slices.Contains(elsewhere, name):
			p.problem(line, "%s: the custom property %s belongs on %s", what, name, place)
		case len(ours) == 0:
			p.problem(line, "%s: unknown custom property %q; only names that begin with x- or have a dot are allowed here", what, name)
		default:
			p.problem(line, "%s: unknown custom property %q; %s; others must begin with x- or have a dot in their name", what, name, allowed(name, ours))
		}
	}
	return values
}

// foreign reports whether a name cannot be mistaken for one of ours.
func foreign(name string) bool { return strings.HasPrefix(name, "x-") || strings.Contains(name, ".") }

const maxRetentionDays = 36500

// service reads the retention among the service levels.
func (p *contractParser) service(c *Contract, n *yaml.Node) {
	if n == nil {
		return
	}
	for _, item := range p.items(n, "slaProperties") {
		entry := p.object(item, "slaProperties", slaKeys, "")
		if item.Kind != yaml.MappingNode {
			continue
		}
		if entry["property"] == nil || entry["value"] == nil {
			p.problem(item.Line, "slaProperties: an entry needs the keys property and value")
			continue
		}
		property, ok := p.text(entry["property"], "slaProperties: property")
		if ok && !slices.Contains(slaProperties, property) && !foreign(property) {
			p.problem(entry["property"].Line, "slaProperties: unknown property %q; %s; others must begin with x- or have a dot in their name", property, allowed(property, slaProperties))
		}
		if property != "retention" {
			continue
		}
		if c.RetentionDays > 0 {
			p.problem(item.Line, "retention: stands twice")
			continue
		}
		if e := entry["element"]; e != nil {
			p.problem(e.Line, "retention: element is not supported; retention counts from the day of the event")
		}
		c.RetentionDays = p.retention(item, entry["value"], entry["unit"])
	}
}

func (p *contractParser) retention(item, value, unit *yaml.Node) int {
	if unit == nil {
		p.problem(item.Line, "retention: the key unit is missing; allowed: d, m, y, or the words for them")
		return 0
	}
	i := p.choice(unit, "retention: unit", []string{"d", "day", "days", "m", "month", "months", "y", "yr", "year", "years"})
	n, err := strconv.ParseInt(value.Value, 10, 32)
	if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!int" || err != nil || n < 1 {
		p.problem(value.Line, "retention: value must be a whole number from 1")
		return 0
	}
	if i < 0 {
		return 0
	}
	days := n
	switch unit.Value[0] {
	case 'm':
		days *= 30
	case 'y':
		days *= 365
	}
	if days > maxRetentionDays {
		p.problem(value.Line, "retention: at most %d days are allowed, found %d", maxRetentionDays, days)
		return 0
	}
	return int(days)
}
