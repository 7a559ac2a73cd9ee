package gen

// The words that events are made of. Escapes are written as they stand in the
// JSON text.
var (
	givenNames = []string{"aino", "eero", "helmi", "ilona", "jaakko", "kerttu", "lauri", "minna", "nils", "oona", "pekka", "ronja", "sanni", "tuomas", "venla", "ville"}
	fullNames  = []string{"Aino M\\u00e4kel\\u00e4", "Eero Lind", "J\\u00fcrgen \\\"Jupe\\\" Holm", "Minna Koski", "Ren\\u00e9e Salo", "Ville Nieminen"}
	mailHosts  = []string{"example.com", "example.org", "Example.net", "mail.example.com"}

	eventNames = []string{
		"Product Viewed", "Product Added", "Product Removed", "Cart Viewed", "Checkout Started",
		"Order Completed", "Products Searched", "Promotion Clicked", "Email Opened",
		"Email Link Clicked", "Signed Up", "Wishlist Product Added",
	}
	pageNames   = []string{"Home", "Product", "Category", "Cart", "Checkout", "Search", "Account", "Help"}
	screenNames = []string{"Home", "Product", "Cart", "Settings"}
	titles      = []string{
		"Etusivu", "Talvitakit | Kauppa", "M\\u00fcsli \\\"Extra\\\" 500 g", "Ostoskori", "Haku",
		"Uutuudet & tarjoukset", "K\\u00e4ytt\\u00f6ehdot", "Lastenhuone",
	}
	products   = []string{"Talvitakki", "Villasukat", "M\\u00fcsli \\\"Extra\\\"", "Retkireppu", "Kahvimylly", "Pipo", "P\\u00f6yt\\u00e4lamppu", "Teekannu"}
	categories = []string{"outdoor", "kitchen", "kids", "home", "grocery"}
	searches   = []string{"takki", "l\\u00e4mmin peitto", "kahvi 1\\\" suodatin", "lahja", "pipo musta"}
	currencies = []string{"EUR", "EUR", "EUR", "SEK", "NOK"}

	campaigns = []string{"syysale-2026", "black-week", "uutiskirje-47", "loyalty", "retargeting-a", "brand"}
	sources   = []string{"google", "newsletter", "facebook", "bing", "partner"}
	media     = []string{"cpc", "email", "social", "affiliate"}
	referrers = []string{"https://www.example.org/", "https://search.example.net/", "https://news.example.org/talous"}

	locales   = []string{"fi-FI", "fi-FI", "sv-SE", "en-GB", "de-DE"}
	timezones = []string{"Europe/Helsinki", "Europe/Helsinki", "Europe/Stockholm", "Europe/London", "Europe/Berlin"}
	agents    = []string{
		"Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0.0.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.1 Safari/605.1.15",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Mobile/15E148",
		"Mozilla/5.0 (Linux; Android 15) Chrome/141.0.0.0 Mobile",
	}
	systems    = []string{`{"name":"iOS","version":"18.1"}`, `{"name":"Android","version":"15"}`, `{"name":"Windows","version":"10"}`}
	libraries  = []string{`{"name":"analytics.js","version":"2.11.1"}`, `{"name":"analytics-node","version":"2.1.0"}`, `{"name":"analytics-kotlin","version":"1.19.0"}`}
	devices    = []string{`"manufacturer":"Apple","model":"iPhone17,1","type":"ios"`, `"manufacturer":"samsung","model":"SM-S931B","type":"android"`}
	plans      = []string{"free", "plus", "business"}
	countries  = []string{"FI", "FI", "SE", "NO", "DE"}
	cities     = []string{"Helsinki", "Tampere", "Jyv\\u00e4skyl\\u00e4", "Ume\\u00e5", "L\\u00fcbeck"}
	industries = []string{"retail", "logistics", "software"}
)
