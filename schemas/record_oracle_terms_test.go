package schemas

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// terms reads what a record says besides, and finds what is of a wrong type.
func (m *oracleMembers) terms(r *Record) error {
	for _, text := range []struct {
		name  string
		value []byte
		to    *string
	}{
		{"collection_method", m.collectionMethod, &r.Terms.Method},
		{"privacy_notice", m.privacyNotice, &r.Terms.Notice},
		{"event_type", m.eventType, &r.Terms.Type},
	} {
		s, err := oracleText(text.name, text.value)
		if err != nil {
			return err
		}
		*text.to = oracleTerm(s)
	}
	if m.source != nil && m.source[0] != '{' {
		return errors.New("source: must be an object")
	}
	system, err := oracleText("source.system", m.system)
	if err != nil {
		return err
	}
	r.Terms.System = oracleTerm(system)
	if m.evidence != nil && m.evidence[0] != '{' {
		return errors.New("evidence: must be an object")
	}
	for value, to := range map[*[]byte]*string{&m.language: &r.Terms.Language, &m.basis: &r.Terms.Basis, &m.processing: &r.Terms.ProcessingID} {
		*to = "other"
		if s, err := oracleText("", *value); err == nil {
			*to = oracleTerm(s)
		}
	}
	r.Terms.Regions = m.regions()
	return nil
}

var oracleTermForm = regexp.MustCompile(`\A[A-Za-z0-9 ._:/#+-]{0,64}\z`)

func oracleTerm(s string) string {
	switch {
	case oracleTermForm.MatchString(s):
		return s
	case strings.TrimSpace(s) == "":
		return " "
	}
	return "other"
}

// proven says whether a grant is proven or pending.
func (m *oracleMembers) proven(r *Record) error {
	method, _ := oracleText("", m.collectionMethod)
	notice, _ := oracleText("", m.privacyNotice)
	system, _ := oracleText("", m.system)
	consentType, _ := oracleText("", m.eventType)
	given := r.Time
	if bareName(method) == "doubleoptin" {
		at, err := oracleMicroseconds("evidence.confirmed_at", m.confirmedAt)
		switch {
		case err != nil:
			r.Pending = true
		case at > given:
			given = at
		}
	}
	if r.Pending || m.eventTime == nil || !validConsentType(consentType) {
		return nil
	}
	for _, part := range []string{method, notice, system} {
		if strings.TrimSpace(part) == "" {
			return nil
		}
	}
	r.Proven, r.Time = true, given
	return nil
}

func oracleEnd(member string, value []byte) (int64, error) {
	at, err := oracleMicroseconds(member, value)
	if err == nil && at <= 0 {
		return 0, errors.New(member + ": must be after 1970")
	}
	return at, err
}

var oracleDuration = regexp.MustCompile(`\AP(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?\z`)

// ends says when a grant ends.
func (m *oracleMembers) ends(r *Record) (err error) {
	if m.validityEnd != nil {
		if r.Until, err = oracleEnd("validity_end", m.validityEnd); err != nil {
			return err
		}
	}
	if m.validity == nil {
		return nil
	}
	text, err := oracleText("validity_duration", m.validity)
	if err != nil {
		return err
	}
	parts := oracleDuration.FindStringSubmatch(text)
	if parts == nil || text == "P" || strings.HasSuffix(text, "T") {
		return errors.New("validity_duration: must be an ISO 8601 duration in whole numbers")
	}
	n := make([]int, len(parts))
	for i := range parts {
		n[i], _ = strconv.Atoi(parts[i])
	}
	outside := errors.New("validity_duration: must end after 1970 and before the year 10000")
	from := time.UnixMicro(r.Time).UTC()
	// The day of the month is the last of the month, if it does not have it.
	month := int(from.Month()) + 12*n[1] + n[2]
	if from.Year()+month/12 > 12000 {
		return outside
	}
	day := from.Day()
	for time.Date(from.Year(), time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() != day {
		day--
	}
	end := time.Date(from.Year(), time.Month(month), day, from.Hour(), from.Minute(), from.Second(), from.Nanosecond(), time.UTC)
	if end.Year() > 9999 {
		return outside
	}
	seconds := int64(7*n[3]+n[4])*86400 + int64(n[5])*3600 + int64(n[6])*60 + int64(n[7])
	if seconds > 10000*366*86400 {
		return outside
	}
	for ; seconds > 0; seconds -= min(seconds, 1_000_000_000) {
		end = end.Add(time.Duration(min(seconds, 1_000_000_000)) * time.Second)
	}
	if end.Year() > 9999 || end.UnixMicro() <= 0 {
		return outside
	}
	if r.Until == 0 || end.UnixMicro() < r.Until {
		r.Until = end.UnixMicro()
	}
	return nil
}

// oracleTexts gives one text or those of a list, "" for what is none.
func oracleTexts(value []byte) []string {
	texts := []string{}
	raw := []json.RawMessage{value}
	if value[0] == '[' {
		raw = nil
		_ = json.Unmarshal(value, &raw)
	}
	for _, r := range raw {
		text, err := oracleText("", r)
		if err != nil {
			text = ""
		}
		texts = append(texts, text)
	}
	return texts
}

func oracleRegion(text string) string {
	text = strings.TrimPrefix(text, "loc:")
	text = strings.TrimPrefix(text, "dpv-loc:")
	text = strings.TrimPrefix(text, "https://w3id.org/dpv/loc#")
	if regexp.MustCompile(`\A(?i:[A-Z]{2}|EEA|ADEQUATE|US-DPF)\z`).MatchString(text) {
		return strings.NewReplacer("EL", "GR", "UK", "GB").Replace(strings.ToUpper(text))
	}
	return "?"
}

// regions gives the regions that a record names, or that both of its members
// have in common.
func (m *oracleMembers) regions() string {
	sets := []map[string]bool{}
	for _, value := range [][]byte{m.storage, m.restrictions} {
		if value == nil {
			continue
		}
		set := map[string]bool{}
		for _, text := range oracleTexts(value) {
			set[oracleRegion(text)] = true
		}
		if len(set) == 0 {
			set["?"] = true
		}
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		return ""
	}
	all := sets[0]
	if len(sets) == 2 {
		all = map[string]bool{}
		for i := range sets {
			for code := range sets[i] {
				if other := sets[1-i]; code != "?" && (other[code] || other["EEA"] && (code == "EU" || DefaultRegions().EEA(code)) ||
					other["EU"] && DefaultRegions().eu[code] || other["US"] && code == "US-DPF") {
					all[code] = true
				}
			}
		}
		if len(all) == 0 {
			all["?"] = true
		}
	}
	var list []string
	for code := range all {
		list = append(list, code)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

func (m *oracleMembers) retained(r *Record) error {
	if m.fields == nil {
		return errors.New("retained_fields: is missing")
	}
	names := oracleTexts(m.fields)
	for _, name := range names {
		if !regexp.MustCompile(`\A[a-z][a-z0-9_]*\z`).MatchString(name) {
			names = nil
			break
		}
	}
	slices.Sort(names)
	list := strings.Join(slices.Compact(names), ",")
	if len(names) == 0 || len(list) > 4096 {
		return errors.New("retained_fields: must be the names of columns")
	}
	r.Terms.Fields = list
	basis, err := oracleText("lawful_basis", m.basis)
	if err != nil {
		return err
	}
	if strings.TrimSpace(basis) == "" {
		return errors.New("lawful_basis: is missing")
	}
	if m.until == nil {
		return errors.New("until: is missing")
	}
	r.Until, err = oracleEnd("until", m.until)
	return err
}

func (m *oracleMembers) born(r *Record) error {
	text, err := oracleText("birth_date", m.birthDate)
	if err != nil {
		return err
	}
	if m.birthDate == nil && m.birthYear == nil {
		return errors.New("birth_date: is missing, and so is birth_year")
	}
	year, month, day := 0, 12, 31
	if m.birthDate != nil {
		parts := regexp.MustCompile(`\A(\d{4})-(\d\d)-(\d\d)\z`).FindStringSubmatch(text)
		if parts != nil {
			year, _ = strconv.Atoi(parts[1])
			month, _ = strconv.Atoi(parts[2])
			day, _ = strconv.Atoi(parts[3])
		}
		if parts == nil || time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Format("2006-01-02") != text {
			return errors.New("birth_date: must be a date as YYYY-MM-DD")
		}
	}
	if m.birthYear != nil {
		n, err := oracleInteger("birth_year", m.birthYear)
		if err != nil {
			return err
		}
		if n < 0 || n > 9999 {
			return errors.New("birth_year: must be 0 to 9999")
		}
		if m.birthDate != nil && int(n) != year {
			return errors.New("birth_year: does not agree with birth_date")
		}
		year = int(n)
	}
	r.Until = time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).UnixMicro()
	country, err := oracleText("country", m.country)
	if err != nil || m.country == nil {
		return err
	}
	if !regexp.MustCompile(`\A[A-Za-z]{2}\z`).MatchString(country) {
		return errors.New("country: must be an ISO 3166-1 alpha-2 code")
	}
	r.Terms.Country = strings.NewReplacer("EL", "GR", "UK", "GB").Replace(strings.ToUpper(country))
	return nil
}
