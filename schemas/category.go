package schemas

import (
	"slices"
	"strings"
)

// Category is a Fideslang data category key, such as user.contact.email.
type Category string

// Known reports whether c is a key of Fideslang 3.1.
func (c Category) Known() bool {
	_, found := slices.BinarySearch(categories[:], string(c))
	return found
}

// Personal reports whether c is about a person: user and everything below it.
// A category that is not known is personal.
func (c Category) Personal() bool { return c.within("user") || !c.Known() }

// Special reports whether c is a special category (GDPR Art 9). Such fields
// are always dropped.
func (c Category) Special() bool { return c.withinAny(specialCategories[:]) }

// Identifying reports whether a value of c points at one person by itself, or
// is so broad that it may. Such a value is stored as it is only where the
// contract acknowledges that.
func (c Category) Identifying() bool {
	return slices.Contains(broadCategories[:], c) || c.withinAny(identifyingCategories[:]) || c.dropOnly()
}

// Narrow reports whether a value of c, with little else, points at one person,
// so that it has no place in a row that is about nobody.
func (c Category) Narrow() bool { return c.withinAny(narrowCategories[:]) }

// dropOnly reports whether no treatment makes a value of c fit to be stored:
// special categories, criminal history (Art 10), and secrets, which never
// leave the process.
func (c Category) dropOnly() bool { return c.Special() || c.withinAny(forbiddenCategories[:]) }

// CategoryNames lists every category, sorted.
func CategoryNames() []string { return slices.Clone(categories[:]) }

func (c Category) within(family Category) bool {
	rest, found := strings.CutPrefix(string(c), string(family))
	return found && (rest == "" || rest[0] == '.')
}

func (c Category) withinAny(families []Category) bool {
	return slices.ContainsFunc(families, c.within)
}

var specialCategories = [...]Category{
	"user.biometric",
	"user.demographic.political_opinion",
	"user.demographic.race_ethnicity",
	"user.demographic.religious_belief",
	"user.demographic.sexual_orientation",
	"user.health_and_medical",
}

var forbiddenCategories = [...]Category{
	"user.authorization",
	"user.criminal_history",
}

var identifyingCategories = [...]Category{
	"user.account.username",
	"user.contact.address.street",
	"user.contact.email",
	"user.contact.fax_number",
	"user.contact.phone_number",
	"user.contact.url",
	"user.content",
	"user.device.cookie",
	"user.device.cookie_id",
	"user.device.device_id",
	"user.device.ip_address",
	"user.financial",
	"user.government_id",
	"user.location.precise",
	"user.name",
	"user.payment",
	"user.unique_id",
}

var narrowCategories = [...]Category{
	"user.behavior.search_history",
	"user.childrens",
	"user.contact.address.postal_code",
	"user.demographic.date_of_birth",
	"user.social",
}

// broadCategories hold identifying ones; the others below them need not be.
var broadCategories = [...]Category{
	"user",
	"user.account",
	"user.contact",
	"user.contact.address",
}

// categories are the keys of the Fideslang 3.1 default taxonomy, sorted.
var categories = [...]string{
	"system",
	"system.authentication",
	"system.operations",
	"user",
	"user.account",
	"user.account.settings",
	"user.account.username",
	"user.authorization",
	"user.authorization.biometric",
	"user.authorization.credentials",
	"user.authorization.password",
	"user.behavior",
	"user.behavior.browsing_history",
	"user.behavior.media_consumption",
	"user.behavior.purchase_history",
	"user.behavior.search_history",
	"user.biometric",
	"user.biometric.fingerprint",
	"user.biometric.health",
	"user.biometric.retinal",
	"user.biometric.voice",
	"user.childrens",
	"user.contact",
	"user.contact.address",
	"user.contact.address.city",
	"user.contact.address.country",
	"user.contact.address.postal_code",
	"user.contact.address.state",
	"user.contact.address.street",
	"user.contact.email",
	"user.contact.fax_number",
	"user.contact.organization",
	"user.contact.phone_number",
	"user.contact.url",
	"user.content",
	"user.content.private",
	"user.content.public",
	"user.content.self_image",
	"user.criminal_history",
	"user.demographic",
	"user.demographic.age_range",
	"user.demographic.date_of_birth",
	"user.demographic.gender",
	"user.demographic.language",
	"user.demographic.marital_status",
	"user.demographic.political_opinion",
	"user.demographic.profile",
	"user.demographic.race_ethnicity",
	"user.demographic.religious_belief",
	"user.demographic.sexual_orientation",
	"user.device",
	"user.device.cookie",
	"user.device.cookie_id",
	"user.device.device_id",
	"user.device.ip_address",
	"user.financial",
	"user.financial.bank_account",
	"user.financial.credit_card",
	"user.government_id",
	"user.government_id.birth_certificate",
	"user.government_id.drivers_license_number",
	"user.government_id.immigration",
	"user.government_id.national_identification_number",
	"user.government_id.passport_number",
	"user.government_id.vehicle_registration",
	"user.health_and_medical",
	"user.health_and_medical.genetic",
	"user.health_and_medical.insurance_beneficiary_id",
	"user.health_and_medical.record_id",
	"user.job_title",
	"user.location",
	"user.location.imprecise",
	"user.location.precise",
	"user.name",
	"user.name.first",
	"user.name.last",
	"user.payment",
	"user.privacy_preferences",
	"user.sensor",
	"user.social",
	"user.telemetry",
	"user.unique_id",
	"user.unique_id.pseudonymous",
	"user.user_sensor",
	"user.workplace",
}
