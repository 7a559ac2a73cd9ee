package schemas

import "time"

// end reads a time at which something ends. One that is not after 1970 is no
// time that anybody meant, and 0 stands for no end.
func (m *recordMembers) end(which recordMember) (int64, error) {
	at, err := m.microseconds(which)
	if err == nil && at <= 0 {
		return 0, which.fault("must be after 1970")
	}
	return at, err
}

// validity reads when a grant ends: at the first of the ends that it names.
func (m *recordMembers) validity(r *Record) (err error) {
	if m[theValidityEnd] != nil {
		if r.Until, err = m.end(theValidityEnd); err != nil {
			return err
		}
	}
	if m[theValidity] == nil {
		return nil
	}
	text, err := m.text(theValidity)
	if err != nil {
		return err
	}
	d, ok := parseDuration(text)
	if !ok {
		return theValidity.fault("must be an ISO 8601 duration in whole numbers")
	}
	end, ok := d.after(r.Time)
	if !ok || end <= 0 {
		return theValidity.fault("must end after 1970 and before the year 10000")
	}
	if r.Until == 0 || end < r.Until {
		r.Until = end
	}
	return nil
}

// duration is a span of the calendar.
type duration struct{ months, days, seconds int64 }

// parseDuration reads an ISO 8601 duration: P, years, months, weeks and days,
// T, hours, minutes and seconds, each a whole number of at most nine digits, at
// least one of them, and in this order.
func parseDuration(text []byte) (d duration, ok bool) {
	if len(text) == 0 || text[0] != 'P' {
		return d, false
	}
	units, some, timed := "YMWD", false, false
	for i := 1; i < len(text); {
		if text[i] == 'T' && !timed {
			units, some, timed = "HMS", false, true
			i++
			continue
		}
		start, n := i, int64(0)
		for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
			if i-start == 9 {
				return d, false
			}
			n = n*10 + int64(text[i]-'0')
		}
		if i == start || i == len(text) {
			return d, false
		}
		at := 0
		for at < len(units) && units[at] != text[i] {
			at++
		}
		if at == len(units) {
			return d, false
		}
		d.add(units[at], n, timed)
		units, some = units[at+1:], true
		i++
	}
	return d, some
}

func (d *duration) add(unit byte, n int64, timed bool) {
	switch {
	case unit == 'Y':
		d.months += 12 * n
	case unit == 'M' && !timed:
		d.months += n
	case unit == 'W':
		d.days += 7 * n
	case unit == 'D':
		d.days += n
	case unit == 'H':
		d.seconds += 3600 * n
	case unit == 'M':
		d.seconds += 60 * n
	case unit == 'S':
		d.seconds += n
	}
}

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// after gives the time d after another, in microseconds: first its months, by
// the calendar in UTC, where a day that a month does not have is its last; then
// its days and seconds. It is not ok if that is after the year 9999.
func (d duration) after(from int64) (end int64, ok bool) {
	t := time.UnixMicro(from).UTC()
	year, month, day := t.Date()
	months := int64(year)*12 + int64(month) - 1 + d.months
	if months >= 10000*12 {
		return 0, false
	}
	first := time.Date(int(months/12), time.Month(months%12)+1, 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	date := first.Unix() + int64(min(day, last)-1)*86400
	h, m, s := t.Clock()
	second := date + int64(h*3600+m*60+s) + d.days*86400 + d.seconds
	if second > lastSecond {
		return 0, false
	}
	return second*1_000_000 + int64(t.Nanosecond())/1000, true
}

// birth reads when a subject was born, and by whose law it grows up.
func (p *RecordReader) birth(m *recordMembers, r *Record) error {
	date, err := m.text(theBirthDate)
	if err != nil {
		return err
	}
	if date == nil && m[theBirthYear] == nil {
		return theBirthDate.fault("is missing, and so is birth_year")
	}
	var born time.Time
	if date != nil {
		if born, err = time.Parse(time.DateOnly, string(date)); err != nil {
			// The cause would show the value.
			return theBirthDate.fault("must be a date as YYYY-MM-DD")
		}
	}
	if m[theBirthYear] != nil {
		year, err := m.integer(theBirthYear)
		switch {
		case err != nil:
			return err
		case year < 0 || year > 9999:
			return theBirthYear.fault("must be 0 to 9999")
		case date == nil:
			born = time.Date(int(year), time.December, 31, 0, 0, 0, 0, time.UTC)
		case int(year) != born.Year():
			return theBirthYear.fault("does not agree with birth_date")
		}
	}
	r.Until = born.UnixMicro()
	country, err := m.text(theCountry)
	if err != nil || country == nil {
		return err
	}
	code, ok := countryCode(string(country))
	if !ok {
		return theCountry.fault("must be an ISO 3166-1 alpha-2 code")
	}
	r.Terms.Country = p.term(theCountry, []byte(code))
	return nil
}
