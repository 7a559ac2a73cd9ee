package oracle

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"lupa/schemas"
)

// terms are what a record says besides who, what and when, as far as it decides.
type terms struct {
	regions string // where a grant lets the data be, codes with commas; empty is everywhere
	fields  string // that a duty keeps, ascending, with commas
	basis   string // the duty's law
	country string // whose law says when somebody is of age
}

// readTerms reads them, and when what is said ends.
func (r *record) readTerms() (err error) {
	switch r.verb {
	case schemas.Grant, schemas.GuardianGrant:
		if err := r.readRegions(); err != nil {
			return err
		}
		return r.readValidity()
	case schemas.Retain:
		return r.readDuty()
	case schemas.Born:
		return r.readBirth()
	}
	return nil
}

// readValidity finds the end of a grant.
func (r *record) readValidity() error {
	if !r.texts("validity_duration", "validity_end") {
		return errRecord
	}
	if text, ok := r.members["validity_duration"].(string); ok {
		end, ok := after(r.time, text)
		if !ok || end <= 0 {
			return errRecord
		}
		r.until = end
	}
	if text := r.members["validity_end"]; text != nil {
		end, ok := recordTime(text)
		if !ok || end <= 0 {
			return errRecord
		}
		if r.until == 0 || end < r.until {
			r.until = end
		}
	}
	return nil
}

var durationForm = regexp.MustCompile(
	`^P(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?$`)

// after adds an ISO 8601 duration to a time: months by the calendar, where a day
// that a month does not have is its last, and then the rest.
func after(micros int64, text string) (int64, bool) {
	m := durationForm.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, "T") || text == "P" {
		return 0, false
	}
	var n [8]int64
	for i := 1; i < len(m); i++ {
		if m[i] == "" {
			continue
		}
		v, err := strconv.ParseInt(m[i], 10, 64)
		if err != nil {
			return 0, false
		}
		n[i] = v
	}
	const ages = 10_000 * 366 * 24 * 60 * 60 // seconds
	months := 12*n[1] + n[2]
	seconds := ((7*n[3]+n[4])*24+n[5])*3600 + n[6]*60 + n[7]
	if months > 120_000 || seconds > ages {
		return 0, false
	}
	t := time.UnixMicro(micros).UTC()
	month := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, int(months), 0)
	days := min(t.Day(), month.AddDate(0, 1, -1).Day()) - 1
	begins := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	sinceMonth := t.Sub(begins) - time.Duration(t.Day()-1)*24*time.Hour
	end := month.UnixMicro() + (int64(days)*24*3600+seconds)*1_000_000 + sinceMonth.Microseconds()
	return end, time.UnixMicro(end).UTC().Year() <= 9999
}

// readRegions finds out where the data may be.
func (r *record) readRegions() error {
	places, ok := r.regions("storage_locations")
	limits, ok1 := r.regions("geographic_restrictions")
	if !ok || !ok1 {
		return errRecord
	}
	all := append(slices.Clone(places), limits...)
	if places != nil && limits != nil {
		all = append(within(places, limits), within(limits, places)...)
		if len(all) == 0 {
			all = []string{"?"}
		}
	}
	slices.Sort(all)
	r.terms.regions = strings.Join(slices.Compact(all), ",")
	return nil
}

// regions reads the codes of a member, one text or a list of them.
func (r *record) regions(member string) (codes []string, ok bool) {
	list, ok := textList(r.members[member])
	for _, text := range list {
		codes = append(codes, regionCode(text))
	}
	if r.members[member] != nil && len(codes) == 0 {
		codes = []string{"?"}
	}
	return codes, ok
}

// within gives the codes that surely lie in one of a list.
func within(codes, list []string) (all []string) {
	r := schemas.DefaultRegions()
	for _, code := range codes {
		inside := slices.Contains(list, code) || code == "EU" && slices.Contains(list, "EEA") || code == "US-DPF" && slices.Contains(list, "US")
		for _, wide := range [...]string{"EU", "EEA"} {
			inside = inside || countryForm.MatchString(code) && slices.Contains(list, wide) && r.Allows(wide, code)
		}
		if inside && code != "?" {
			all = append(all, code)
		}
	}
	return all
}

// textList gives the texts of a member that is one or a list of them.
func textList(v any) (list []string, ok bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return []string{v}, true
	case []any:
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, false
			}
			list = append(list, text)
		}
		return list, true
	}
	return nil, false
}

var (
	regionForm  = regexp.MustCompile(`^(?:EU|EEA|ADEQUATE|US-DPF|[A-Z]{2})$`)
	countryForm = regexp.MustCompile(`^[A-Z]{2}$`)
)

// regionCode is a code as tables of regions know it, or ? for what is none.
func regionCode(text string) string {
	for _, space := range [...]string{"loc:", "dpv-loc:", "https://w3id.org/dpv/loc#"} {
		text = strings.TrimPrefix(text, space)
	}
	text = strings.ToUpper(text)
	if !regionForm.MatchString(text) {
		return "?"
	}
	return isoCountry(text)
}

// isoCountry is the code by which the rest of the world knows a country.
func isoCountry(code string) string {
	switch code {
	case "EL":
		return "GR"
	case "UK":
		return "GB"
	}
	return code
}

func (r *record) readDuty() error {
	list, ok := textList(r.members["retained_fields"])
	if !ok || len(list) == 0 || r.members["lawful_basis"] == nil {
		return errRecord
	}
	for _, name := range list {
		if !columnForm.MatchString(name) {
			return errRecord
		}
	}
	slices.Sort(list)
	r.terms.fields = strings.Join(slices.Compact(list), ",")
	basis, _ := r.members["lawful_basis"].(string)
	r.terms.basis = term(basis)
	if r.until, ok = recordTime(r.members["until"]); !ok || r.until <= 0 {
		return errRecord
	}
	return nil
}

var columnForm = regexp.MustCompile(`^[a-z0-9_]+$`)

var termForm = regexp.MustCompile(`^[A-Za-z0-9 ._:/#+-]{1,64}$`)

// term is a text of a record, unless it could be about somebody.
func term(text string) string {
	switch {
	case !termForm.MatchString(text):
		return "other"
	case strings.TrimSpace(text) == "":
		return " "
	}
	return text
}

// readBirth finds the first moment of the birthday, the latest that it may be.
func (r *record) readBirth() error {
	if !r.texts("birth_date", "country") {
		return errRecord
	}
	if text, ok := r.members["country"].(string); ok {
		code := isoCountry(strings.ToUpper(text))
		if !countryForm.MatchString(code) {
			return errRecord
		}
		r.terms.country = code
	}
	if text, ok := r.members["birth_date"].(string); ok {
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return errRecord
		}
		r.until = day.UnixMicro()
		return nil
	}
	number, ok := r.members["birth_year"].(json.Number)
	if !ok {
		return errRecord
	}
	year, err := strconv.Atoi(number.String())
	if err != nil || year < 0 || year > 9999 {
		return errRecord
	}
	r.until = time.Date(year, time.December, 31, 0, 0, 0, 0, time.UTC).UnixMicro()
	return nil
}

func splitFields(text string) []string { return strings.Split(text, ",") }
