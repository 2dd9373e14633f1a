# ruff: noqa: RUF001 - letters of other scripts are what they look like here
"""Function words by language, the commonest first: what tells in which language a text is written.
Texts keep them all; of a question the first few are left out."""

FUNCTION_WORDS = {
    "cs": "a se na v je že s z do i o k ale jako za by pro to jsou od po které který podle jeho"
    " při byl bylo může nebo aby jsem tak však ještě také když",
    "da": "og i at det er en til på som af de for den med der ikke har om et fra var han jeg vi"
    " kan men være eller blev skal når efter også hvis denne mellem hvor",
    "de": "der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an"
    " werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über oder"
    " wenn kann",
    "el": "και το να του η της με που την από για είναι των σε ο οι στο θα τα τον στην δεν ως"
    " κατά μια τους ότι αυτό αλλά ένα",
    "en": "the of and to in a is that for it as was with be by on not he his are this at from"
    " or have an they which you were their has had been if when who will more there can"
    " would",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o"
    " pero sus le ha este entre cuando muy sin sobre también hasta hay donde desde son"
    " está",
    "fi": "ja on ei se että oli hän mutta ovat kun joka myös tai kuin niin ole sen mukaan jos"
    " siitä sekä tämä voi vain jotka ollut mitä olla hänen tämän",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se"
    " il ce sont avec son ou aux cette ces mais comme être nous vous leur été",
    "hu": "a az és hogy nem is egy ez meg de van csak már mint volt el még ki azt ha vagy kell"
    " lehet ezt amely minden után pedig lesz között",
    "id": "yang dan di dengan untuk dari ini pada dalam tidak adalah itu akan ke oleh atau juga"
    " sebagai dapat telah karena ada bisa mereka lebih tersebut",
    "it": "di e il la che in un a per è una del non le con si da i dei della al sono come più"
    " ha anche alla gli nel delle lo o ma questo su se dal quando",
    "nl": "de van het een en in is dat op te zijn met voor niet die aan er om ook als dan maar"
    " bij of uit nog door naar wordt heeft over zo hij kan worden deze geen wel",
    "no": "og i det er en til på som av de for den med at ikke har om et fra var han jeg vi kan"
    " men være eller ble skal når etter også hvis denne mellom noe bare",
    "pl": "i w na z się do nie jest to że o jak po za od przez ale są dla oraz jego co lub tak"
    " czy być może tym który które już został tylko także przy",
    "pt": "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao"
    " ele das à seu sua ou quando muito nos já também só pelo pela até isso são está",
    "ro": "de și în a la că cu o pe nu se este din un pentru mai care sunt sau prin au fost lui"
    " fi dar ca după această când al ale acest",
    "ru": "и в не на что с по как к он из а за то это от для о но его все было так при или у"
    " если бы мы вы они только может также где был быть есть",
    "sv": "och i att det som en på är av för med den till de inte har om ett han var men jag"
    " från vi så kan eller när vid efter också än under ska där",
    "tr": "ve bir bu da de için ile olarak çok daha gibi olan en ne ancak kadar sonra veya ise"
    " her değil ama olduğu tarafından göre mi var",
}
